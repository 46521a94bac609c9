//! Many rows at once, in key order: written as a file that RocksDB then takes as its own, once instead of to the log, to a first level, and down from
//! there.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use super::{Db, options, store_error};
use crate::{StoreError, rows::Row};

/// Before the name of a file, until it is taken.
const PREFIX: &str = "appended-";
/// Files that this process began: two that are written to one family at once have names of their own.
static BEGUN: AtomicU64 = AtomicU64::new(0);

fn path(db: &Db, family: &str) -> PathBuf {
    let number = BEGUN.fetch_add(1, Ordering::Relaxed);
    db.path().join(format!("{PREFIX}{}-{number}", family.replace('/', "-")))
}

/// Writes the rows to a file, and has the family take it.
pub(super) fn append(db: &Db, family: &str, rows: &[Row]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let file = path(db, family);
    let taken = write(&file, rows).and_then(|()| {
        let handle = db.cf_handle(family).ok_or(StoreError::Closed)?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        db.ingest_external_file_cf_opts(&handle, &options, vec![&file]).map_err(store_error)
    });
    if taken.is_err() {
        // It may not be there, and goes at the next start otherwise.
        drop(fs::remove_file(&file));
    }
    taken
}

fn write(file: &Path, rows: &[Row]) -> Result<(), StoreError> {
    let options = options::file();
    let mut writer = SstFileWriter::create(&options);
    writer.open(file).map_err(store_error)?;
    for (key, value) in rows {
        writer.put(key, value).map_err(store_error)?;
    }
    writer.finish().map_err(store_error)
}

/// Removes files that were not taken before the process ended.
pub(super) fn sweep(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
