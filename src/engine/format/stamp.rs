//! `10/Oct/2000:13:55:36 -0700`: the stamp of `%t`, read by hand. Asks no calendar but its own.

use crate::engine::time::Timestamp;

/// The length of a stamp without its brackets.
pub(super) const STAMP: usize = 26;

/// The last minute and zone that was read: most lines share it with the line before, and cost a compare.
#[derive(Clone, Debug)]
pub struct StampCache {
    /// The stamp as four words, its seconds masked out.
    key: [u64; 4],
    /// Milliseconds since the epoch at the start of that minute.
    minute_ms: i64,
}

impl Default for StampCache {
    fn default() -> Self {
        // No masked stamp has all bits set.
        Self { key: [u64::MAX; 4], minute_ms: 0 }
    }
}

impl StampCache {
    /// The time of a stamp; `None` if it is no valid one.
    #[inline]
    pub(super) fn read(&mut self, text: &[u8; STAMP]) -> Option<Timestamp> {
        let (tens, ones) = (text[18].wrapping_sub(b'0'), text[19].wrapping_sub(b'0'));
        let seconds = i64::from(tens) * 10 + i64::from(ones);
        // :60 is a leap second. It belongs to the minute's end, and so to the next minute's first second.
        if tens > 6 || ones > 9 || seconds > 60 {
            return None;
        }
        let key = key(text);
        if key != self.key {
            self.minute_ms = minute(text)?;
            self.key = key;
        }
        Some(Timestamp::from_millis(self.minute_ms + seconds * 1_000))
    }
}

/// The stamp as words, without its two digits of seconds (bytes 18 and 19).
#[inline]
fn key(text: &[u8; STAMP]) -> [u64; 4] {
    let word = |from: usize| {
        text.get(from..).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_le_bytes(*word))
    };
    [word(0), word(8), word(16) & !0x0000_0000_ffff_0000, word(18) >> 16]
}

/// Milliseconds since the epoch at the start of the stamp's minute.
#[cold]
fn minute(text: &[u8; STAMP]) -> Option<i64> {
    let [
        d1,
        d2,
        b'/',
        m1,
        m2,
        m3,
        b'/',
        y1,
        y2,
        y3,
        y4,
        b':',
        h1,
        h2,
        b':',
        i1,
        i2,
        b':',
        _,
        _,
        b' ',
        sign @ (b'+' | b'-'),
        zh1,
        zh2,
        zm1,
        zm2,
    ] = *text
    else {
        return None;
    };
    let month = month([m1, m2, m3])?;
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    let day = two(d1, d2)?;
    let (hour, minute) = (two(h1, h2)?, two(i1, i2)?);
    let (zone_hour, zone_minute) = (two(zh1, zh2)?, two(zm1, zm2)?);
    if day == 0
        || day > days_in(year, month)
        || hour > 23
        || minute > 59
        || zone_hour > 23
        || zone_minute > 59
    {
        return None;
    }
    let offset = zone_hour * 60 + zone_minute;
    let offset = if sign == b'-' { -offset } else { offset };
    let minutes = (days_from_civil(year, month, day) * 24 + hour) * 60 + minute - offset;
    Some(minutes * 60_000)
}

fn two(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn month(name: [u8; 3]) -> Option<i64> {
    const NAMES: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    (1..).zip(NAMES).find(|(_, known)| **known == name).map(|(number, _)| number)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a day of the Gregorian calendar, which is taken to go back to the year 0.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March put the leap day last, and months then follow a straight line.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Timestamp> {
        StampCache::default().read(text.as_bytes().try_into().ok()?)
    }

    fn rfc(text: &str) -> Option<Timestamp> {
        Timestamp::parse_rfc3339(text).ok()
    }

    #[test]
    fn stamps_of_all_zones_and_years_are_read() {
        for (stamp, time) in [
            ("10/Oct/2000:13:55:36 -0700", "2000-10-10T20:55:36Z"),
            ("01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00Z"),
            ("31/Dec/1969:23:59:59 +0000", "1969-12-31T23:59:59Z"),
            ("29/Feb/2000:00:00:00 +0530", "2000-02-28T18:30:00Z"),
            ("31/Dec/2016:23:59:60 +0000", "2017-01-01T00:00:00Z"),
            ("01/Jan/2017:05:29:60 +0530", "2017-01-01T00:00:00Z"),
            ("01/Jan/2000:00:00:00 -2359", "2000-01-01T23:59:00Z"),
            ("01/Jan/2000:00:00:00 +2359", "1999-12-31T00:01:00Z"),
            ("01/Mar/0000:00:00:00 +0000", "0000-03-01T00:00:00Z"),
            ("31/Dec/9999:23:59:59 +0000", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(read(stamp), rfc(time), "{stamp}");
        }
        assert!(read("01/Jan/0000:00:00:00 +2359") < rfc("0000-01-01T00:00:00Z"));
        assert!(read("31/Dec/9999:23:59:59 -2359") > rfc("9999-12-31T23:59:59Z"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for stamp in [
            "29/Feb/1900:00:00:00 +0000",
            "30/Feb/2000:00:00:00 +0000",
            "31/Apr/2000:00:00:00 +0000",
            "00/Jan/2000:00:00:00 +0000",
            "32/Jan/2000:00:00:00 +0000",
            "01/jan/2000:00:00:00 +0000",
            "01/Jan/2000:24:00:00 +0000",
            "01/Jan/2000:00:60:00 +0000",
            "01/Jan/2000:00:00:61 +0000",
            "01/Jan/2000:00:00:0: +0000",
            "01/Jan/2000:00:00:/0 +0000",
            "01/Jan/2000:00:00:00 +2400",
            "01/Jan/2000:00:00:00 +0060",
            "01/Jan/2000:00:00:00 00000",
            "01-Jan-2000:00:00:00 +0000",
            "1/Jan/2000:00:00:00 +00000",
            " 1/Jan/2000:00:00:00 +0000",
        ] {
            assert_eq!(read(stamp), None, "{stamp}");
        }
    }

    #[test]
    fn a_default_cache_remembers_nothing() {
        let mut zeros = [0; STAMP];
        (zeros[18], zeros[19]) = (b'0', b'0');
        assert_eq!(StampCache::default().read(&zeros), None);
        assert_eq!(StampCache::default().read(&[0xff; STAMP]), None);
    }

    proptest! {
        #[test]
        fn the_cache_never_changes_an_answer(stamps in prop::collection::vec("0[12]/Jan/200[01]:0[01]:0[01]:[0-6][0-9a] [+-]010[01]", 1..20)) {
            let mut cache = StampCache::default();
            for stamp in &stamps {
                let text: &[u8; STAMP] = stamp.as_bytes().try_into().unwrap();
                prop_assert_eq!(cache.read(text), StampCache::default().read(text));
            }
        }

        #[test]
        fn chrono_reads_the_same(seconds in -62_167_219_200_i64..253_402_300_800, offset in -1_439_i32..=1_439) {
            let zone = chrono::FixedOffset::east_opt(offset * 60).unwrap();
            let time = DateTime::from_timestamp(seconds, 0).unwrap().with_timezone(&zone);
            let text = time.format("%d/%b/%Y:%H:%M:%S %z").to_string();
            // At the ends of the calendar a zone leads to the years -1 and 10000, which no stamp can say.
            if text.len() == STAMP {
                prop_assert_eq!(read(&text), Some(Timestamp::from_millis(seconds * 1_000)));
            }
        }
    }
}
