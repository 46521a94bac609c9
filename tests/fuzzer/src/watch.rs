//! Notices an input that does not end.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

#[derive(Debug, Default)]
struct Running {
    /// None between two inputs.
    began: Option<Instant>,
    /// Kept from one input to the next: memory that the watching thread freed would be missed in a measurement of all threads.
    input: Vec<u8>,
}

/// A thread that looks at the input which runs. It ends with this.
#[derive(Debug)]
pub(crate) struct Watch {
    running: Arc<Mutex<Running>>,
    /// Nothing is sent: the thread ends when this is dropped.
    _end: mpsc::Sender<()>,
}

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Calls `hangs` with an input that runs for longer than `limit`: once for each of them, a quarter of `limit` late at most.
    pub(crate) fn start(limit: Duration, hangs: impl Fn(&[u8]) + Send + 'static) -> Self {
        let running = Arc::<Mutex<Running>>::default();
        let (end, ended) = mpsc::channel();
        let watched = running.clone();
        std::thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(limit / 4) {
                let mut running = lock(&watched);
                if running.began.is_some_and(|began| began.elapsed() > limit) {
                    running.began = None;
                    hangs(&running.input);
                }
            }
        });
        Self { running, _end: end }
    }

    /// An input runs from now on.
    pub(crate) fn begin(&self, input: &[u8]) {
        let mut running = lock(&self.running);
        running.input.clear();
        running.input.extend_from_slice(input);
        running.began = Some(Instant::now());
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        lock(&self.running).began = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_does_not_end_is_named_and_one_that_ended_is_not() {
        let (named, names) = mpsc::channel();
        let watch = Watch::start(Duration::from_millis(200), move |input| named.send(input.to_vec()).expect("is heard"));
        watch.begin(b"ends");
        watch.end();
        assert_eq!(names.recv_timeout(Duration::from_millis(600)), Err(RecvTimeoutError::Timeout));
        watch.begin(b"does not end");
        assert_eq!(names.recv_timeout(Duration::from_secs(20)).as_deref(), Ok(&b"does not end"[..]));
        drop(watch);
        assert_eq!(names.recv_timeout(Duration::from_secs(20)), Err(RecvTimeoutError::Disconnected), "the thread ends with its watch");
    }
}
