//! Bytes that nobody thought of, on real connections: greetings, lists of chains, streams of frames, questions. What comes of them is compared
//! with what the protocol says in a few lines.

use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use subnode_fuzzer::{Fuzz, kind, peak_of};
use subnode_peers::Incoming;
use subnode_types::Purpose;

use super::*;
use crate::{
    frame::{QUESTION_BYTES_MAX, frame_bytes_max},
    handshake::{CHAINS_MAX, Hello},
};

const CHAIN: ChainKey = ChainKey([1; 32]);
const NETWORK: &str = "test";
/// Nodes that call in turn, each from an address of its own. The end of a node's connection takes a moment; by the node's next turn it is over.
const CALLERS: u8 = 16;
/// Broken rules of one connection before another takes its place: a node that breaks more is left alone for a minute.
const FAULTS_MAX: u64 = 5;
/// What has not happened until then does not happen.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of lists of chains that wait for nothing.
const LISTS_BYTES_MAX: usize = 1 << 10;
const ANSWER: &[u8] = b"answer";

/// When a call that was refused is made again.
const CALLED_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Memory of both ends for each byte of an input, and besides: the room of a longest frame whose bytes do not come, and connections with their
/// buffers.
const MEMORY_PER_BYTE: usize = 8;
const MEMORY_BESIDE: usize = frame_bytes_max(Purpose::Blocks) + (3 << 20);

fn key(seed: u8) -> NodeKey {
    NodeKey::from_secret([seed; 32]).expect("a key")
}

fn open(seed: u8) -> Network {
    let options = NetworkOptions { listen: ([127, 0, 1, seed], 0).into(), network: NETWORK.into(), strangers_max: 4 };
    Network::open(key(seed), options).expect("an endpoint")
}

fn hello() -> Hello {
    Hello { network: NETWORK.into(), chains: [CHAIN].into() }
}

/// A connection to the node that is tried.
struct Caller {
    id: NodeId,
    connection: Connection,
    /// The greeting's stream.
    control: (SendStream, RecvStream),
    faults: u64,
}

/// The node that is tried, and those that call it.
struct Tried {
    network: Network,
    membership: Membership,
    inbox: Inboxes,
    callers: Vec<Network>,
    turn: usize,
    open: Option<Caller>,
}

/// What comes of a stream: frames that reach the chain, and whether the peer broke a rule.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Came {
    frames: Vec<Vec<u8>>,
    fault: bool,
}

/// Bytes as frames of at most so many bytes.
fn frames(mut bytes: &[u8], max: usize) -> Came {
    let mut came = Came::default();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        match rest.split_at_checked(length) {
            Some((frame, rest)) if length <= max => {
                came.frames.push(frame.to_vec());
                bytes = rest;
            }
            _ => return Came { fault: true, ..came },
        }
    }
    Came { fault: !bytes.is_empty(), ..came }
}

/// The header of a stream, whether it is for the chain, and what follows; none where it is none. Contents have keys of their own.
fn header(bytes: &[u8]) -> Option<(bool, Purpose, &[u8])> {
    let (key, rest) = bytes.split_at_checked(32)?;
    let (purpose, rest) = rest.split_first()?;
    let purpose = *Purpose::ALL.get(usize::from(*purpose))?;
    Some((key == CHAIN.0 && purpose != Purpose::Content, purpose, rest))
}

fn of_stream(bytes: &[u8]) -> Came {
    match header(bytes) {
        None => Came { fault: true, ..Came::default() },
        // A chain that has just left is no fault.
        Some((false, ..)) => Came::default(),
        Some((true, purpose, rest)) => frames(rest, frame_bytes_max(purpose)),
    }
}

fn of_question(bytes: &[u8]) -> Came {
    let Some((here, _, rest)) = header(bytes) else { return Came { fault: true, ..Came::default() } };
    let mut came = frames(rest, QUESTION_BYTES_MAX);
    // What follows the first is not looked at.
    came.frames.truncate(1);
    came.fault = came.frames.is_empty();
    if !here {
        came.frames.clear();
    }
    came
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what} does not happen");
        tokio::task::yield_now().await;
    }
}

impl Tried {
    fn new() -> Self {
        let network = open(1);
        let callers: Vec<_> = (2..2 + CALLERS).map(open).collect();
        let members = callers.iter().map(|caller| (caller.id(), None)).collect();
        let (membership, inbox) = network.join(CHAIN, members, Arc::new(Bandwidth::new(1 << 30))).expect("a chain");
        Self { network, membership, inbox, callers, turn: 0, open: None }
    }

    /// A connection that has said nothing, and whose it is.
    async fn connect(&mut self) -> (NodeId, Connection) {
        self.turn = (self.turn + 1) % self.callers.len();
        let caller = &self.callers[self.turn];
        let address = self.network.address().expect("an address");
        let began = Instant::now();
        loop {
            match caller.dialer.call(self.network.id(), address).await {
                Ok(connection) => return (caller.id(), connection),
                // So many connections of one address begin in a second, and a fast machine makes more. Each that is refused is held for a while.
                Err(error) => {
                    assert!(began.elapsed() < PATIENCE, "no connection: {error}");
                    tokio::time::sleep(CALLED_AGAIN_AFTER).await;
                }
            }
        }
    }

    /// One that has greeted.
    async fn caller(&mut self) -> Caller {
        if let Some(open) = self.open.take() {
            if open.faults < FAULTS_MAX {
                return open;
            }
            open.connection.close(0_u32.into(), b"another's turn");
        }
        let (id, connection) = self.connect().await;
        let (_, tell, hear) = hello().call(&connection).await.expect("a greeting");
        Caller { id, connection, control: (tell, hear), faults: 0 }
    }

    /// Takes what reaches the chain, and answers what is asked.
    async fn take(&mut self, expected: &[Vec<u8>]) {
        for frame in expected {
            let came = tokio::time::timeout(PATIENCE, self.inbox.next()).await.expect("a frame that should come");
            match came.expect("the chain is here") {
                Incoming::Frame(received) => assert_eq!(&*received.frame, &frame[..]),
                Incoming::Request(request) => {
                    assert_eq!(&*request.frame, &frame[..]);
                    request.answer(Bytes::from_static(ANSWER));
                }
            }
        }
    }

    async fn faults(&self, caller: &mut Caller, fault: bool) {
        caller.faults += u64::from(fault);
        let counted = || self.network.peers().iter().find(|peer| peer.id == caller.id).map(|peer| peer.faults);
        until("the count of broken rules", || counted() == Some(caller.faults)).await;
    }

    /// A greeting of these bytes: whether it is answered.
    async fn greet(&mut self, bytes: &[u8]) -> u64 {
        let (_, connection) = self.connect().await;
        let (mut tell, mut hear) = connection.open_bi().await.expect("a stream");
        // It may be closed before all of it is written.
        drop(tell.write_all(bytes).await);
        drop(tell.finish());
        let answered = tokio::time::timeout(PATIENCE, hear.read_exact(&mut [0; 4])).await.expect("answered or closed").is_ok();
        let first = frames(bytes, usize::MAX).frames.into_iter().next();
        let sound = first.and_then(|frame| Hello::decode(&frame).ok()).is_some_and(|hello| hello.network == NETWORK);
        assert_eq!(answered, sound, "a greeting is answered where it is one of this network");
        connection.close(0_u32.into(), b"greeted");
        u64::from(answered)
    }

    /// These bytes behind the greeting: lists of chains. A peer may send 128 KiB of them in a second, and no list is free.
    async fn list(&mut self, bytes: &[u8]) -> u64 {
        let mut caller = self.caller().await;
        let lists = frames(bytes, 32 * CHAINS_MAX);
        let good = lists.frames.iter().take_while(|list| list.len().is_multiple_of(32)).count();
        let fault = lists.fault || good < lists.frames.len();
        drop(caller.control.0.write_all(bytes).await);
        drop(caller.control.0.finish());
        self.faults(&mut caller, fault).await;
        let last = lists.frames[..good].last();
        let has = last.is_none_or(|list| list.chunks(32).any(|chain| chain == CHAIN.0));
        until("the list of chains", || self.membership.connected().contains(&caller.id) == has).await;
        caller.connection.close(0_u32.into(), b"told");
        kind((good.min(3), fault, has))
    }

    async fn stream(&mut self, bytes: &[u8]) -> u64 {
        let mut caller = self.caller().await;
        let mut stream = caller.connection.open_uni().await.expect("a stream");
        // It is stopped where the chain is not here.
        drop(stream.write_all(bytes).await);
        drop(stream.finish());
        let came = of_stream(bytes);
        self.take(&came.frames).await;
        self.faults(&mut caller, came.fault).await;
        self.open = Some(caller);
        kind((came.frames.len().min(3), came.fault))
    }

    async fn ask(&mut self, bytes: &[u8]) -> u64 {
        let mut caller = self.caller().await;
        let (mut tell, mut hear) = caller.connection.open_bi().await.expect("a stream");
        drop(tell.write_all(bytes).await);
        drop(tell.finish());
        let came = of_question(bytes);
        self.take(&came.frames).await;
        let heard = tokio::time::timeout(PATIENCE, hear.read_to_end(1 << 10)).await.expect("answered or refused").unwrap_or_default();
        let answer = [&[0, 0, 0, 6], ANSWER].concat();
        assert_eq!(heard, if came.frames.is_empty() { Vec::new() } else { answer });
        self.faults(&mut caller, came.fault).await;
        self.open = Some(caller);
        kind((came.frames.len(), came.fault))
    }
}

#[test]
fn fuzzed_peers_reach_the_chain_with_what_is_right_and_are_charged_for_the_rest() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let framed = |frame: &[u8]| [&u32::try_from(frame.len()).expect("short").to_be_bytes(), frame].concat();
    let stream = |way: u8, purpose: u8, rest: &[u8]| [&[way], &CHAIN.0[..], &[purpose], rest].concat();
    let mut samples = vec![[&[0], &framed(&hello().encode())[..]].concat(), [&[1], &framed(&CHAIN.0)[..]].concat()];
    for purpose in 0..5 {
        let frames = [framed(b"one"), framed(b""), framed(&[7; 300])].concat();
        samples.extend([2, 3].map(|way| stream(way, purpose, &frames)));
        samples.extend([2, 3].map(|way| stream(way, purpose, &u32::MAX.to_be_bytes())));
        // A length that is allowed, of which nothing follows.
        samples.push(stream(2, purpose, &[0, 16, 0, 0]));
    }
    let mut tried = runtime.block_on(async { Tried::new() });
    let words: [&[u8]; 5] = [&CHAIN.0, &[0, 0, 0, 32], &[0, 16, 0, 0], &[0, 0, 0, 0], NETWORK.as_bytes()];
    Fuzz::new("peers", 16 << 10).samples(samples).words(words).run(|input| {
        let Some((way, bytes)) = input.split_first() else { return 0 };
        if let Ok(hello) = Hello::decode(bytes) {
            let again = Hello::decode(&hello.encode()).expect("what was written");
            assert_eq!((again.network, again.chains), (hello.network, hello.chains));
        }
        let (of_this_way, peak) = peak_of(|| {
            runtime.block_on(async {
                match way % 4 {
                    0 => tried.greet(bytes).await,
                    1 => tried.list(&bytes[..bytes.len().min(LISTS_BYTES_MAX)]).await,
                    2 => tried.stream(bytes).await,
                    _ => tried.ask(bytes).await,
                }
            })
        });
        assert!(peak <= MEMORY_PER_BYTE * input.len() + MEMORY_BESIDE, "{peak} bytes of memory for {}", input.len());
        kind((way % 4, of_this_way))
    });
}
