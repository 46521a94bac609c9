//! What a chain's runtime starts from: bytes, and parts of files that stay where they are until a chain is born.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use sha2::{Digest, Sha256};

/// Bytes of a file that are in memory while it is read through.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// A runtime's spec. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
enum Segment {
    Bytes(Arc<[u8]>),
    /// The file stays as it is until the chain is born.
    File {
        file: Arc<File>,
        start: u64,
        len: u64,
    },
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }
}

impl From<Vec<u8>> for Spec {
    fn from(bytes: Vec<u8>) -> Self {
        let mut spec = Self::default();
        spec.push_bytes(&bytes);
        spec
    }
}

impl Spec {
    /// Appends bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.segments.push(Segment::Bytes(bytes.into()));
        }
    }

    /// Appends `len` bytes of a file, from `start`. They are read when a chain is born.
    pub fn push_file(&mut self, file: &Arc<File>, start: u64, len: u64) {
        if len > 0 {
            self.segments.push(Segment::File { file: file.clone(), start, len });
        }
    }

    /// Bytes in all.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.segments.iter().map(Segment::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Whether all of it is in memory.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Bytes(_)))
    }

    /// Reads it from its start.
    #[must_use]
    pub fn reader(&self) -> SpecReader {
        SpecReader { spec: self.clone(), segment: 0, offset: 0, hash: Sha256::new() }
    }

    /// All of it in memory.
    ///
    /// # Errors
    /// Where a file cannot be read, or has become shorter.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.len()).unwrap_or_default());
        let mut reader = self.reader();
        while let Some(part) = Some(reader.read(READ_BYTES)?).filter(|part| !part.is_empty()) {
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    /// SHA-256 of it, read part by part.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn hash(&self) -> io::Result<[u8; 32]> {
        self.reader().finish()
    }
}

/// Reads a spec once, and hashes what it reads.
pub struct SpecReader {
    spec: Spec,
    segment: usize,
    offset: u64,
    hash: Sha256,
}

impl SpecReader {
    /// The next bytes, at most `len`; none at the end.
    ///
    /// # Errors
    /// Where a file cannot be read, or has become shorter.
    pub fn read(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut read = Vec::with_capacity(len.min(READ_BYTES));
        while read.len() < len
            && let Some(segment) = self.spec.segments.get(self.segment)
        {
            let wanted = usize::try_from(segment.len() - self.offset).unwrap_or(usize::MAX).min(len - read.len());
            let before = read.len();
            match segment {
                Segment::Bytes(bytes) => {
                    let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
                    read.extend_from_slice(bytes.get(start..).and_then(|rest| rest.get(..wanted)).unwrap_or_default());
                }
                Segment::File { file, start, .. } => {
                    read.resize(before + wanted, 0);
                    file.read_exact_at(read.get_mut(before..).unwrap_or_default(), start + self.offset)?;
                }
            }
            self.offset += wanted as u64;
            if self.offset == segment.len() {
                (self.segment, self.offset) = (self.segment + 1, 0);
            }
        }
        self.hash.update(&read);
        Ok(read)
    }

    /// Reads what is left; SHA-256 of all that was read.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn finish(mut self) -> io::Result<[u8; 32]> {
        while !self.read(READ_BYTES)?.is_empty() {}
        Ok(self.hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn parts() -> (tempfile::TempDir, Spec) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("spec");
        File::create(&path).and_then(|mut file| file.write_all(b"0123456789")).expect("written");
        let file = Arc::new(File::open(&path).expect("opens"));
        let mut spec = Spec::from(b"<".to_vec());
        spec.push_file(&file, 2, 5);
        spec.push_bytes(b"");
        spec.push_bytes(b"-");
        spec.push_file(&file, 9, 1);
        (dir, spec)
    }

    #[test]
    fn parts_of_a_file_are_read_as_one_text() {
        let (_dir, spec) = parts();
        assert_eq!((spec.len(), spec.bytes().expect("reads")), (8, b"<23456-9".to_vec()));
        let mut reader = spec.reader();
        let read: Vec<Vec<u8>> = (0..4).map(|_| reader.read(3).expect("reads")).collect();
        assert_eq!(read, [&b"<23"[..], b"456", b"-9", b""]);
        let whole: [u8; 32] = Sha256::digest(b"<23456-9").into();
        assert_eq!((spec.hash().expect("reads"), reader.finish().expect("reads")), (whole, whole));
    }

    #[test]
    fn a_file_that_has_become_shorter_is_an_error() {
        let (dir, spec) = parts();
        File::create(dir.path().join("spec")).expect("emptied");
        assert_eq!(spec.bytes().expect_err("too short").kind(), io::ErrorKind::UnexpectedEof);
        assert!(spec.hash().is_err());
    }
}
