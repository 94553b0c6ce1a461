//! How fast the embedded stream takes and gives back records of log lines, in one process, with all of them on
//! disk before they are acknowledged. Parses no line.
//!
//! `cargo bench --bench stream -- [MiB of lines] [directory]`

#![expect(clippy::print_stdout, reason = "the result of a benchmark is what it prints")]

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use logtally::{
    backend::{
        Append, Backend, Outgoing, Result, StartAt, Stream, StreamReader, StreamWriter,
        embedded::{Embedded, Settings},
    },
    clock::Clock,
};

/// Bytes of lines in a record.
const RECORD: usize = 512 * 1024;
/// Records of one append.
const APPEND: usize = 4;
/// Tasks that append.
const WRITERS: usize = 2;
/// Different payloads, used in turn.
const PAYLOADS: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let mib: usize = arguments.next().map_or(Ok(2048), |text| text.parse())?;
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = parent.join(format!("logtally-bench-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(run(&directory, mib));
    std::fs::remove_dir_all(&directory)?;
    Ok(outcome?)
}

async fn run(directory: &Path, mib: usize) -> Result<()> {
    let records = mib * 1024 * 1024 / RECORD;
    let payloads: Vec<Bytes> = (0..PAYLOADS).map(|seed| lines(seed as u64)).collect();
    let backend = Embedded::open(Settings::new(directory.join("bench.db"), Clock::system())).await?;
    let clock = Clock::system();
    let (start, used) = (clock.now(), cpu_seconds());
    let mut tasks = tokio::task::JoinSet::new();
    for shard in backend.shards(Stream::Input).await? {
        let mut reader = backend.reader(Stream::Input, &shard.id, StartAt::TrimHorizon).await?;
        let expected = (0..records).filter(|&index| place(index) >> 126 == shard.first_hash >> 126).count();
        tasks.spawn(async move {
            let mut read = 0;
            while read < expected {
                read += reader.next_batch().await?.records.len();
            }
            Ok(())
        });
    }
    for writer in 0..WRITERS {
        let (backend, payloads) = (backend.clone(), payloads.clone());
        tasks.spawn(async move {
            let own: Vec<usize> = (0..records).filter(|index| index % WRITERS == writer).collect();
            let mut stream = backend.writer(Stream::Input).await?;
            for group in own.chunks(APPEND) {
                let records = group.iter().map(|&index| outgoing(index, &payloads)).collect();
                stream.append(Append { records, sources: Vec::new() }).await?;
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap_or(Ok(()))?;
    }
    let seconds = Duration::from_millis(clock.now().millis_since(start).unsigned_abs()).as_secs_f64();
    report(directory, mib, seconds, cpu_seconds() - used);
    let stats = backend.stream_stats(Stream::Input).await?;
    let (raw, stored) =
        stats.iter().fold((0, 0), |(raw, stored), shard| (raw + shard.bytes, stored + shard.stored_bytes));
    println!("stored: {} MB of {} MB", stored / 1_000_000, raw / 1_000_000);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a benchmark's sizes fit")]
fn report(directory: &Path, mib: usize, seconds: f64, cpu: f64) {
    let raw = mib as f64 * 1024.0 * 1024.0;
    println!(
        "appended and read back: {:.0} MB/s of lines, {:.2} M lines/s of 240 bytes",
        raw / seconds / 1e6,
        raw / 240.0 / seconds / 1e6
    );
    println!(
        "processor: {:.2} cores over {seconds:.1} s, {:.2} s a GB of lines",
        cpu / seconds,
        cpu / raw * 1e9
    );
    for file in ["bench.db", "bench.db-wal"] {
        let size = std::fs::metadata(directory.join(file)).map_or(0, |file| file.len());
        println!("{file}: {} MB", size / 1_000_000);
    }
}

fn outgoing(index: usize, payloads: &[Bytes]) -> Outgoing {
    Outgoing {
        partition_key: format!("00000000000000ff.1.{}-{}.0", index * RECORD, (index + 1) * RECORD),
        hash_key: Some(place(index)),
        data: payloads.get(index % payloads.len()).cloned().unwrap_or_default(),
    }
}

fn place(index: usize) -> u128 {
    u128::from(mix(index as u64)) << 64
}

/// Lines as a busy site writes them: many clients, paths with numbers, some dozens of agents and referers.
fn lines(seed: u64) -> Bytes {
    let mut text = String::with_capacity(RECORD + 512);
    let mut state = mix(seed + 1);
    let mut next = |bound: u64| {
        state = mix(state);
        state % bound
    };
    let mut second = seed * 3;
    while text.len() < RECORD {
        second += u64::from(next(700) == 0);
        let host = next(20_000);
        let agent = next(40);
        let _ = writeln!(
            text,
            "10.{}.{}.{} - - [21/Nov/2026:04:{:02}:{:02} +0000] \"{} /{}/{}/{}?session={:08x} HTTP/1.1\" {} {} \
             \"https://www.example.com/{}/{}\" \"Mozilla/5.0 (X11; Linux x86_64; rv:{}.0) Gecko/20100101 \
             Firefox/{}.0 build/{}\"",
            host / 256 % 256,
            host % 256,
            host % 254 + 1,
            second / 60 % 60,
            second % 60,
            pick(&["GET", "GET", "GET", "POST"], next(60)),
            pick(&["api/v1", "static", "shop", "search"], next(60)),
            pick(&["orders", "items", "users", "img", "css"], next(60)),
            next(100_000),
            next(1 << 32),
            pick(&["200", "200", "200", "304", "404", "500"], next(60)),
            next(50_000),
            pick(&["shop", "blog", "start"], next(60)),
            next(500),
            agent + 80,
            agent + 80,
            mix(agent) % 100_000_000,
        );
    }
    let whole = text.get(..RECORD).and_then(|text| text.rfind('\n'));
    text.truncate(whole.map_or(0, |end| end + 1));
    text.into()
}

fn pick<'a>(words: &[&'a str], random: u64) -> &'a str {
    words.iter().cycle().nth(usize::try_from(random).unwrap_or(0)).copied().unwrap_or_default()
}

/// A step of the generator `SplitMix64`.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Processor time of this process so far, where the system tells: user and system ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: u32 = stat.rsplit(')').next().map_or(0, |fields| {
        fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum()
    });
    f64::from(ticks) / 100.0
}
