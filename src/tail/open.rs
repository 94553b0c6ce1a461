//! Opens one whole log for reading, plain or compressed. Follows nothing: what grows later is not seen.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, ErrorKind, Read},
    os::{fd::AsFd, unix::fs::FileExt},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

/// Compressed bytes read at once.
const COMPRESSED_BUFFER: usize = 128 * 1024;

/// Bytes that tell the compressions apart.
pub(crate) const MAGIC: usize = 4;

/// How a file's bytes are packed, known by its first bytes and never by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// By magic bytes: RFC 1952 for gzip with deflate, RFC 8878 for zstd (a skippable frame may come first).
    pub(crate) fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// The unpacked bytes of `reader`: all members of a gzip file, all frames of a zstd file.
    pub(crate) fn reader(self, reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Plain => Box::new(reader),
            Self::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(COMPRESSED_BUFFER, reader))),
            Self::Zstd => {
                Box::new(zstd::Decoder::with_buffer(BufReader::with_capacity(COMPRESSED_BUFFER, reader))?)
            }
        })
    }
}

/// An open log.
pub(crate) enum Opened {
    /// A plain file: any part of it can be read.
    Plain(File),
    /// Bytes that come one after the other, unpacked.
    Unpacked(Box<dyn Read + Send>),
}

/// Opens the log at `path`, `-` for standard input, and unpacks gzip (any number of members) and zstd (any number of
/// frames), which it recognises by their first bytes. A plain file is returned as it is, without a buffer.
///
/// # Errors
/// If the file cannot be opened or is a directory; the message names the path. A compressed file that is broken fails
/// later, when the broken part is read.
pub fn open_log(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    open(path).map(|opened| match opened {
        Opened::Plain(file) => Box::new(file),
        Opened::Unpacked(reader) => reader,
    })
}

/// As [`open_log`].
pub(crate) fn open(path: &Path) -> io::Result<Opened> {
    let opened = if path.as_os_str() == "-" {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        unpack(File::from(input)).map(Opened::Unpacked)
    } else {
        open_file(path)
    };
    opened.map_err(|error| named(path, &error))
}

fn open_file(path: &Path) -> io::Result<Opened> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "is a directory: name the logs in it"));
    }
    if !metadata.is_file() {
        return unpack(file).map(Opened::Unpacked);
    }
    let mut first = [0; MAGIC];
    let length = file.read_at(&mut first, 0)?;
    match Packing::of(first.get(..length).unwrap_or_default()) {
        Packing::Plain => Ok(Opened::Plain(file)),
        packing @ (Packing::Gzip | Packing::Zstd) => packing.reader(file).map(Opened::Unpacked),
    }
}

/// Unpacks what cannot be read twice: a pipe, a terminal.
fn unpack(mut input: File) -> io::Result<Box<dyn Read + Send>> {
    let mut first = Vec::with_capacity(MAGIC);
    input.by_ref().take(MAGIC as u64).read_to_end(&mut first)?;
    Packing::of(&first).reader(Cursor::new(first).chain(input))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn read_back(name: &str, content: &[u8]) -> io::Result<Vec<u8>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(name);
        std::fs::write(&path, content)?;
        let mut data = Vec::new();
        open_log(&path)?.read_to_end(&mut data)?;
        Ok(data)
    }

    #[test]
    fn plain_gzip_and_zstd_are_told_by_their_bytes_and_not_by_their_names() {
        let zstd = |data: &[u8]| zstd::encode_all(data, 1).unwrap();
        for (name, content) in [
            ("plain.gz", b"one\ntwo\n".to_vec()),
            ("gzip", gzip(b"one\ntwo\n")),
            ("gzip in members", [gzip(b"one\n"), gzip(b"two\n")].concat()),
            ("zstd", zstd(b"one\ntwo\n")),
            ("zstd in frames", [zstd(b"one\n"), zstd(b"two\n")].concat()),
            (
                "zstd behind a skippable frame",
                [b"\x50\x2a\x4d\x18\x02\0\0\0xx".to_vec(), zstd(b"one\ntwo\n")].concat(),
            ),
        ] {
            assert_eq!(read_back(name, &content).unwrap(), b"one\ntwo\n", "{name}");
        }
        for short in [b"".as_slice(), b"\x1f", b"\x1f\x8b", b"\x28\xb5\x2f"] {
            assert_eq!(read_back("short", short).unwrap(), short);
        }
    }

    #[test]
    fn a_pipe_is_unpacked_as_a_file_is() {
        for content in [b"one\n".to_vec(), b"x".to_vec(), gzip(b"one\n")] {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(&content).unwrap();
            drop(writer);
            let mut data = Vec::new();
            let file = File::from(std::os::fd::OwnedFd::from(reader));
            unpack(file).unwrap().read_to_end(&mut data).unwrap();
            assert_eq!(data, if content.len() > 4 { b"one\n".to_vec() } else { content });
        }
    }

    #[test]
    fn a_cut_archive_fails_where_it_ends() {
        let mut content = gzip(b"one\n");
        content.truncate(content.len() - 3);
        assert_eq!(read_back("cut", &content).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_directory_and_a_missing_file_are_named() {
        let message = |path: &str| open_log(Path::new(path)).err().unwrap().to_string();
        insta::assert_snapshot!(message("/usr"), @"/usr: is a directory: name the logs in it");
        insta::assert_snapshot!(message("/no/log"), @"/no/log: No such file or directory (os error 2)");
    }
}
