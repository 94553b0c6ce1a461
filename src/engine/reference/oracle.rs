//! The join against a linear scan, on files of few hosts, blocks and times, so that they meet often.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::{
    tests::{owner, parse, rows},
    *,
};

/// A row of a test file, as the oracle sees it.
#[derive(Clone, Debug)]
struct OracleRow {
    cell: String,
    host: OracleHost,
    application: usize,
    valid: (i64, i64),
}

#[derive(Clone, Debug, PartialEq)]
enum OracleHost {
    Name(usize),
    /// Address space, address and prefix length; `None` for a single address.
    Net(bool, u128, Option<u32>),
}

impl OracleRow {
    /// How well the row fits a client: exact beats every prefix.
    fn fit(&self, client: &OracleHost) -> Option<u32> {
        match (&self.host, client) {
            (OracleHost::Net(v6, net, Some(length)), OracleHost::Net(client_v6, address, _)) => {
                let shift = if *v6 { 128 } else { 32 } - length;
                let prefix = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
                (v6 == client_v6 && prefix(*net) == prefix(*address)).then_some(*length)
            }
            (row, client) => (row == client).then_some(1_000),
        }
    }
}

/// The linear scan: of the rows valid now, the best fitting, and of these the last.
fn scan(rows: &[OracleRow], client: &OracleHost, time: i64) -> Option<usize> {
    let valid = rows.iter().filter(|row| row.valid.0 <= time && time < row.valid.1);
    let fitting = valid.filter_map(|row| Some((row.fit(client)?, row.application)));
    fitting
        .fold(None, |best, now| match best {
            Some((fit, _)) if fit > now.0 => best,
            _ => Some(now),
        })
        .map(|(_, application)| application)
}

const NAMES: [&str; 4] = ["web1", "db.example.org", "a-b_c.example.org", "db.example.com"];

/// A client and one of the ways to write it.
fn client() -> impl Strategy<Value = (OracleHost, String)> {
    let name = (0..NAMES.len(), any::<bool>(), any::<bool>()).prop_map(|(name, upper, dot)| {
        let text = if upper { NAMES[name].to_uppercase() } else { NAMES[name].to_owned() };
        (OracleHost::Name(name), if dot { text + "." } else { text })
    });
    let v4 = (0_u32..16, any::<bool>()).prop_map(|(low, mapped)| {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + low);
        let text = if mapped { format!("::FFFF:{address}") } else { address.to_string() };
        (OracleHost::Net(false, address.to_bits().into(), None), text)
    });
    let v6 = (0_u128..16, 0..3).prop_map(|(low, form)| {
        let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | low);
        let text = match form {
            0 => address.to_string(),
            1 => format!("[{}]", address.to_string().to_uppercase()),
            _ => format!("2001:db8:0:0:0:0:0:{low:x}%lo"),
        };
        (OracleHost::Net(true, address.to_bits(), None), text)
    });
    prop_oneof![name, v4, v6]
}

fn host_cell() -> impl Strategy<Value = (OracleHost, String)> {
    let block = (client(), 0_u32..=32).prop_map(|((host, _), short)| match host {
        OracleHost::Net(v6, bits, _) => {
            let (width, address) = if v6 {
                (128, IpAddr::from(Ipv6Addr::from_bits(bits)))
            } else {
                (32, Ipv4Addr::from_bits(u32::try_from(bits).unwrap()).into())
            };
            let length = if short > 6 { width - short % 6 } else { short };
            (OracleHost::Net(v6, bits, (length < width).then_some(length)), format!("{address}/{length}"))
        }
        name @ OracleHost::Name(index) => (name, NAMES[index].to_owned()),
    });
    prop_oneof![client(), block]
}

fn oracle_row() -> impl Strategy<Value = OracleRow> {
    let valid = prop_oneof![
        3 => Just((i64::MIN, i64::MAX)),
        2 => (0_i64..8, 1_i64..8).prop_map(|(from, length)| (from, from + length)),
        1 => (0_i64..8).prop_map(|from| (from, i64::MAX)),
        1 => (1_i64..8).prop_map(|to| (i64::MIN, to)),
    ];
    (host_cell(), 0_usize..5, valid).prop_map(|((host, cell), application, valid)| OracleRow {
        cell,
        host,
        application,
        valid,
    })
}

fn write(rows: &[OracleRow]) -> String {
    let bound = |bound: i64| match bound {
        i64::MIN | i64::MAX => String::new(),
        millis => Timestamp::from_millis(millis).to_string(),
    };
    let lines = rows.iter().map(|row| {
        let (from, to) = (bound(row.valid.0), bound(row.valid.1));
        format!("{from},App{},{to},,{}\n", row.application, row.cell)
    });
    format!("ValidFrom,ApplicationName,ValidTo,Contact,Host\n{}", lines.collect::<Vec<_>>().concat())
}

proptest! {
    #[test]
    fn the_join_is_a_linear_scan(
        rows in prop::collection::vec(oracle_row(), 0..24),
        clients in prop::collection::vec(client(), 1..24),
    ) {
        let reference = parse(write(&rows));
        for (client, text) in clients {
            for time in -1..17 {
                let expected = scan(&rows, &client, time).map(|application| format!("App{application}"));
                prop_assert_eq!(owner(&reference, &text, time), expected.as_deref(), "{} at {}", text, time);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(csv in prop::collection::vec(any::<u8>(), 0..200), host in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Reference::parse(&csv);
        let after_header = [b"Host,ApplicationName,Contact\n".as_slice(), &csv].concat();
        let _ = Reference::parse(&after_header);
        prop_assert_eq!(parse(rows("0.0.0.0/0,A,\n")).resolve(&host) == Resolution::Unowned,
            std::str::from_utf8(&host).ok().and_then(|text| text.parse::<Ipv4Addr>().ok()).is_none());
    }
}
