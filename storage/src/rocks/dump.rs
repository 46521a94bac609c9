//! A family's rows as of one moment. RocksDB's iterator is such a moment, and borrows the database, so a thread keeps both.

use std::{
    sync::{Arc, mpsc},
    thread::Builder,
};

use rocksdb::ReadOptions;

use super::{Db, store_error};
use crate::{
    StoreError,
    rows::{Dump, Row},
};

type Answer = Result<Vec<Row>, StoreError>;

struct RocksDump {
    /// How many bytes are wanted.
    wanted: mpsc::Sender<usize>,
    answers: mpsc::Receiver<Answer>,
}

/// Begins at this moment. The thread ends with the dump.
pub(super) fn start(db: Arc<Db>, family: &str) -> Result<Box<dyn Dump>, StoreError> {
    // Bound: one number of 8 bytes, since the dump waits for each answer before it asks again.
    let (wanted, requests) = mpsc::channel::<usize>();
    // Bound: the answer to one request: as many bytes as it asks for, and one row.
    let (answer, answers) = mpsc::channel();
    let family = family.to_owned();
    let thread = Builder::new().name("subnode-export".into()).spawn(move || {
        let Some(handle) = db.cf_handle(&family) else { return };
        let mut options = ReadOptions::default();
        // Rows that are read once would push out those that are read often.
        options.fill_cache(false);
        let mut rows = db.raw_iterator_cf_opt(&handle, options);
        rows.seek_to_first();
        // Tells that the moment is fixed.
        let mut sent = answer.send(Ok(Vec::new()));
        while sent.is_ok()
            && let Ok(bytes) = requests.recv()
        {
            let (mut some, mut taken) = (Vec::new(), 0);
            while taken < bytes
                && let Some((key, value)) = rows.item()
            {
                taken += key.len() + value.len();
                some.push((key.to_vec(), value.to_vec()));
                rows.next();
            }
            sent = answer.send(rows.status().map(|()| some).map_err(store_error));
        }
    });
    thread.map_err(|error| StoreError::Io(format!("no thread for an export: {error}")))?;
    answers.recv().unwrap_or(Err(StoreError::Closed))?;
    Ok(Box::new(RocksDump { wanted, answers }))
}

impl Dump for RocksDump {
    fn next(&mut self, bytes: usize) -> Answer {
        self.wanted.send(bytes).map_err(|_| StoreError::Closed)?;
        self.answers.recv().unwrap_or(Err(StoreError::Closed))
    }
}
