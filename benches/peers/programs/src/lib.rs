//! What a plain program does around its parser: lines out of a file, the join, the counts, sorted CSV. Parses no line.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write, stdout},
    path::Path,
    thread,
};

use anyhow::{Context, Result};
use chrono::DateTime;
use hashbrown::HashMap;

/// Seconds of a window.
const WINDOW: i64 = 300;

/// Bytes read at once.
const BUFFER: usize = 256 * 1024;

/// Tells the host and the time (seconds since the epoch) of each valid line to `tally`.
pub trait Parser: Default {
    /// `line` is without its end.
    fn count(&mut self, line: &[u8], tally: &mut Tally<'_>);
}

/// Requests by window and owner.
pub struct Tally<'o> {
    owners: &'o Owners,
    windows: HashMap<i64, Vec<u64>>,
}

/// Who owns which host: by its text, as the generated reference data has it.
struct Owners {
    hosts: HashMap<Vec<u8>, usize>,
    /// Application and contact; the first is for hosts that nobody owns.
    names: Vec<(String, String)>,
}

impl Tally<'_> {
    /// Counts a request.
    pub fn add(&mut self, host: &[u8], second: i64) {
        let owner = self.owners.hosts.get(host).copied().unwrap_or(0);
        let counts = self.windows.entry(second.div_euclid(WINDOW));
        counts.or_insert_with(|| vec![0; self.owners.names.len()])[owner] += 1;
    }
}

/// `PROGRAM LOG REFERENCE THREADS`: the whole job with the parser `P`, its result on standard output.
///
/// # Errors
///
/// When a file cannot be read, or the result not be written.
pub fn run<P: Parser>() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [log, reference, threads] = arguments.as_slice() else {
        anyhow::bail!("usage: PROGRAM LOG REFERENCE THREADS");
    };
    let threads: u64 = threads.parse().context("THREADS must be a number")?;
    let (log, owners) = (Path::new(log), Owners::read(Path::new(reference))?);
    let length = log.metadata().with_context(|| format!("cannot read {}", log.display()))?.len();
    let mut windows: HashMap<i64, Vec<u64>> = HashMap::new();
    thread::scope(|scope| {
        let pieces: Vec<_> = (0..threads)
            .map(|piece| {
                let (from, to) = (length * piece / threads, length * (piece + 1) / threads);
                let owners = &owners;
                scope.spawn(move || count_piece::<P>(log, from, to, owners))
            })
            .collect();
        for piece in pieces {
            let counted = piece.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            for (window, counts) in counted {
                let sums = windows.entry(window).or_insert_with(|| vec![0; counts.len()]);
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
        anyhow::Ok(())
    })?;
    write(&owners, &windows)
}

/// Counts the lines of which the first byte lies in `from..to`.
fn count_piece<P: Parser>(log: &Path, from: u64, to: u64, owners: &Owners) -> Result<HashMap<i64, Vec<u64>>> {
    let mut file = File::open(log)?;
    let mut line = Vec::new();
    let mut at = from.saturating_sub(1);
    file.seek(SeekFrom::Start(at))?;
    let mut reader = BufReader::with_capacity(BUFFER, file);
    if from > 0 {
        at += reader.read_until(b'\n', &mut line)? as u64;
    }
    let mut parser = P::default();
    let mut tally = Tally { owners, windows: HashMap::new() };
    while at < to {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        at += read as u64;
        parser.count(line.strip_suffix(b"\n").unwrap_or(&line), &mut tally);
    }
    Ok(tally.windows)
}

fn write(owners: &Owners, windows: &HashMap<i64, Vec<u64>>) -> Result<()> {
    let mut rows = Vec::new();
    for (window, counts) in windows {
        let start = DateTime::from_timestamp(window * WINDOW, 0).context("a time beyond the calendar")?;
        let start = start.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let counted = owners.names.iter().zip(counts).filter(|(_, count)| **count > 0);
        rows.extend(
            counted.map(|((application, contact), count)| (start.clone(), application, contact, *count)),
        );
    }
    rows.sort_unstable();
    let mut out = csv::Writer::from_writer(BufWriter::new(stdout().lock()));
    out.write_record(["windowStart", "applicationName", "contact", "responseCount"])?;
    for (start, application, contact, count) in rows {
        out.write_record([&start, application, contact, &count.to_string()])?;
    }
    out.into_inner().map_err(|error| anyhow::anyhow!("{error}"))?.flush()?;
    Ok(())
}

impl Owners {
    fn read(path: &Path) -> Result<Self> {
        let mut reader =
            csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut owners = Self { hosts: HashMap::new(), names: vec![("Unknown".to_owned(), String::new())] };
        for row in reader.deserialize() {
            let (host, application, contact): (String, String, String) = row?;
            let name = (application, contact);
            let known = owners.names.iter().position(|known| *known == name);
            let owner = known.unwrap_or_else(|| {
                owners.names.push(name);
                owners.names.len() - 1
            });
            owners.hosts.insert(host.into_bytes(), owner);
        }
        Ok(owners)
    }
}
