//! What attackers do, each attacker until the run stops it.

use std::net::SocketAddr;

use quinn::{SendStream, VarInt};
use rand::Rng;
use subnode_network::{Purpose, frame_bytes_max};

use super::strangers::{Attacker, Greeted, framed, greet, greeting, header};

/// What a stranger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Opens connections and closes them at once.
    Connects,
    /// Begins handshakes, and says nothing more.
    HalfOpen,
    /// Opens connections and does not greet.
    Silent,
    /// Greets a byte at a time.
    SlowGreeting,
    /// Opens all the streams that it may, and sends nothing on them.
    IdleStreams,
    /// Begins frames of the greatest length on as many streams as it may, and does not end them.
    HalfFrames,
    /// Sends lengths, purposes, headers and greetings that there cannot be, under one new key after another.
    Nonsense,
    /// Sends as many frames as it can.
    Frames(Purpose),
    /// Asks as much as it may, and reads no answer.
    Unread,
    /// Connects and greets again and again, in place of its own connection.
    Storm,
    /// Leaves in the midst of frames and questions, without a word or with one.
    Midway,
    /// Says again and again which chains it has.
    Lists,
    /// Sends datagrams that are no packets, and packets that were changed.
    Garbage,
    /// Sends first packets of handshakes in the name of members, and of hosts that there are not.
    Spoofed,
}

impl Attack {
    pub(crate) const ALL: [Self; 17] = [
        Self::Connects,
        Self::HalfOpen,
        Self::Silent,
        Self::SlowGreeting,
        Self::IdleStreams,
        Self::HalfFrames,
        Self::Nonsense,
        Self::Frames(Purpose::Consensus),
        Self::Frames(Purpose::Transactions),
        Self::Frames(Purpose::Blocks),
        Self::Frames(Purpose::Snapshot),
        Self::Unread,
        Self::Storm,
        Self::Midway,
        Self::Lists,
        Self::Garbage,
        Self::Spoofed,
    ];

    pub(crate) async fn run(self, mut attacker: Attacker) {
        let attacker = &mut attacker;
        attacker.pause(0, 500).await;
        match self {
            Self::Connects => connects(attacker).await,
            Self::HalfOpen => half_open(attacker).await,
            Self::Silent => silent(attacker).await,
            Self::SlowGreeting => slow_greeting(attacker).await,
            Self::IdleStreams => idle_streams(attacker).await,
            Self::HalfFrames => half_frames(attacker).await,
            Self::Nonsense => nonsense(attacker).await,
            Self::Frames(purpose) => frames(attacker, purpose).await,
            Self::Unread => unread(attacker).await,
            Self::Storm => storm(attacker).await,
            Self::Midway => midway(attacker).await,
            Self::Lists => lists(attacker).await,
            Self::Garbage => garbage(attacker).await,
            Self::Spoofed => spoofed(attacker).await,
        }
    }
}

/// How a member breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misdeed {
    /// Sends frames of a purpose as fast as it can, most of them empty.
    Floods(Purpose),
    /// Takes part, and reads nothing.
    Deaf,
    /// Asks as much as it may, and reads no answer.
    Unread,
    /// Connects again and again to send more, and leaves its chains and joins them between frames.
    Churns,
    /// Reads nothing, and leaves its chains and joins them again and again.
    DeafChurns,
}

impl Misdeed {
    pub(crate) const ALL: [Self; 8] = [
        Self::Floods(Purpose::Consensus),
        Self::Floods(Purpose::Transactions),
        Self::Floods(Purpose::Blocks),
        Self::Floods(Purpose::Snapshot),
        Self::Deaf,
        Self::Unread,
        Self::Churns,
        Self::DeafChurns,
    ];

    /// Whether it takes nothing of what it is sent.
    pub(crate) fn is_deaf(self) -> bool {
        matches!(self, Self::Deaf | Self::DeafChurns)
    }

    pub(crate) async fn run(self, mut attacker: Attacker, address: SocketAddr) {
        // A call would replace the connection whose list is changed.
        let listening = (self != Self::DeafChurns).then(|| attacker.listen(address));
        let listening = async {
            if let Some(listening) = listening {
                listening.await;
            }
        };
        let attacker = &mut attacker;
        let attack = async {
            match self {
                Self::Floods(purpose) => frames(attacker, purpose).await,
                Self::Deaf => deaf(attacker).await,
                Self::Unread => unread(attacker).await,
                Self::Churns => churns(attacker).await,
                Self::DeafChurns => deaf_churns(attacker).await,
            }
        };
        tokio::join!(listening, attack);
    }
}

async fn connects(attacker: &mut Attacker) {
    loop {
        let victim = attacker.victim();
        drop(attacker.call(victim).await);
        attacker.pause(20, 150).await;
    }
}

/// Calls from ports that fall silent: what was sent by then is a first packet, or a part of what follows.
async fn half_open(attacker: &mut Attacker) {
    loop {
        let (port, victim) = (attacker.port(), attacker.victim());
        port.mute_after(attacker.random.random_range(2..=4));
        let calling = attacker.call_from(port, victim, false);
        drop(tokio::time::timeout(std::time::Duration::from_millis(90), calling).await);
        attacker.pause(1, 10).await;
    }
}

async fn silent(attacker: &mut Attacker) {
    let mut held = std::collections::VecDeque::new();
    loop {
        let victim = attacker.victim();
        held.extend(attacker.call(victim).await);
        if held.len() > 32 {
            held.pop_front();
        }
        attacker.pause(20, 150).await;
    }
}

async fn slow_greeting(attacker: &mut Attacker) {
    loop {
        let victim = attacker.victim();
        let Some(call) = attacker.call(victim).await else { continue };
        let Ok((mut tell, _hear)) = call.connection.open_bi().await else { continue };
        for byte in framed(&greeting(&attacker.chains)) {
            if tell.write_all(&[byte]).await.is_err() {
                break;
            }
            attacker.pause(100, 400).await;
        }
    }
}

async fn gone(greeted: &Greeted) {
    greeted.call.connection.closed().await;
}

async fn idle_streams(attacker: &mut Attacker) {
    loop {
        let Some(greeted) = attacker.peer().await else { continue };
        let mut streams = Vec::new();
        let opening = async {
            loop {
                tokio::select! {
                    biased;
                    Ok(stream) = greeted.call.connection.open_uni() => streams.push(stream),
                    Ok((stream, _)) = greeted.call.connection.open_bi() => streams.push(stream),
                    else => break,
                }
                // A byte opens it for the other side.
                if let Some(stream) = streams.last_mut() {
                    drop(stream.write_all(&[1]).await);
                }
            }
        };
        tokio::select! {
            biased;
            () = gone(&greeted) => {}
            () = opening => {}
        }
        attacker.pause(50, 200).await;
    }
}

/// Streams that are begun, as many as are let through.
const BEGUN: usize = 64;

async fn half_frames(attacker: &mut Attacker) {
    loop {
        let Some(greeted) = attacker.peer().await else { continue };
        let (chains, connection) = (attacker.chains.clone(), greeted.call.connection.clone());
        let mut streams = Vec::new();
        let beginning = async {
            for index in 0..BEGUN {
                let purpose = Purpose::ALL[1 + index % 3];
                let Ok(mut stream) = connection.open_uni().await else { return };
                let length = u32::try_from(frame_bytes_max(purpose)).unwrap().to_be_bytes();
                let begun = [&header(chains[index / 3 % chains.len()], purpose)[..], &length, &[1]].concat();
                drop(stream.write_all(&begun).await);
                streams.push(stream);
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = gone(&greeted) => {}
            () = beginning => {}
        }
        attacker.pause(50, 200).await;
    }
}

async fn nonsense(attacker: &mut Attacker) {
    loop {
        if attacker.random.random_bool(0.3) {
            // A greeting of another network, of another version, of random bytes, of no end.
            let victim = attacker.victim();
            let Some(call) = attacker.call(victim).await else { continue };
            let Ok((mut tell, mut hear)) = call.connection.open_bi().await else { continue };
            let mut hello = framed(&greeting(&attacker.chains));
            match attacker.random.random_range(0..4) {
                0 => hello[4] ^= 1,
                1 => hello[8] ^= 1,
                2 => hello = attacker.bytes(500),
                _ => hello = vec![0xff; 400],
            }
            drop(tell.write_all(&hello).await);
            drop(tell.finish());
            drop(hear.read(&mut [0; 64]).await);
            continue;
        }
        let Some(greeted) = attacker.peer().await else { continue };
        while greeted.call.connection.close_reason().is_none() {
            let purpose = Purpose::ALL[attacker.random.random_range(0..4)];
            let head = header(attacker.chain(), purpose);
            let sent = match attacker.random.random_range(0..5) {
                0 => [&head[..], &u32::MAX.to_be_bytes()].concat(),
                1 => [&head[..32], &[200]].concat(),
                2 => [&head[..], &100_u32.to_be_bytes(), &[1; 50]].concat(),
                3 => head[..20].to_vec(),
                _ => attacker.bytes(100),
            };
            let Ok(mut stream) = greeted.call.connection.open_uni().await else { break };
            drop(stream.write_all(&sent).await);
            drop(stream.finish());
            attacker.pause(1, 50).await;
        }
    }
}

/// A stream of frames, until it is stopped.
async fn pour(attacker: &mut Attacker, mut stream: SendStream, purpose: Purpose) {
    let head = header(attacker.chain(), purpose);
    if stream.write_all(&head).await.is_err() {
        return;
    }
    let empty = framed(&[]).repeat(256);
    loop {
        let frames = match attacker.random.random_range(0..4) {
            0 => framed(&attacker.bytes(10_000)),
            1 => framed(&attacker.bytes(100)),
            _ => empty.clone(),
        };
        if stream.write_all(&frames).await.is_err() {
            return;
        }
    }
}

async fn frames(attacker: &mut Attacker, purpose: Purpose) {
    loop {
        let Some(greeted) = attacker.peer().await else { continue };
        loop {
            // A stream that is stopped is given up, and another begun.
            let Ok(stream) = greeted.call.connection.open_uni().await else { break };
            pour(attacker, stream, purpose).await;
            attacker.pause(5, 50).await;
        }
    }
}

async fn unread(attacker: &mut Attacker) {
    loop {
        let Some(greeted) = attacker.peer().await else { continue };
        let mut asked = std::collections::VecDeque::new();
        loop {
            let Ok(Ok((mut ask, answer))) =
                tokio::time::timeout(std::time::Duration::from_secs(1), greeted.call.connection.open_bi()).await
            else {
                if greeted.call.connection.close_reason().is_some() {
                    break;
                }
                // As many as it may. It gives one up.
                asked.pop_front();
                continue;
            };
            let question = [header(attacker.chain(), Purpose::Blocks), framed(&attacker.bytes(32))].concat();
            if ask.write_all(&question).await.is_err() {
                break;
            }
            drop(ask.finish());
            asked.push_back(answer);
        }
    }
}

async fn storm(attacker: &mut Attacker) {
    let one = *attacker.victims.first().unwrap();
    let secret = attacker.bytes(32).try_into().unwrap();
    attacker.keep_key(secret);
    let mut held = std::collections::VecDeque::new();
    loop {
        let Some(call) = attacker.call(one).await else { continue };
        // The one before is closed by the victim, or by this.
        held.extend(greet(call, &attacker.chains).await);
        if held.len() > attacker.random.random_range(0..4) {
            held.pop_front();
        }
        attacker.pause(10, 100).await;
    }
}

async fn midway(attacker: &mut Attacker) {
    loop {
        let Some(greeted) = attacker.peer().await else { continue };
        let connection = &greeted.call.connection;
        let begun = async {
            let mut streams = Vec::new();
            for purpose in Purpose::OF_CHAIN {
                let mut stream = connection.open_uni().await.ok()?;
                let begin = [header(attacker.chain(), purpose), 1_000_u32.to_be_bytes().to_vec(), vec![7; 500]].concat();
                stream.write_all(&begin).await.ok()?;
                streams.push(stream);
            }
            let (mut ask, answer) = connection.open_bi().await.ok()?;
            ask.write_all(&header(attacker.chain(), Purpose::Blocks)).await.ok()?;
            ask.write_all(&framed(&[1; 32])).await.ok()?;
            Some((streams, answer))
        };
        let held = tokio::time::timeout(std::time::Duration::from_millis(300), begun).await;
        attacker.pause(0, 100).await;
        match attacker.random.random_range(0..3) {
            0 => greeted.call.connection.close(VarInt::from_u32(99), &[0; 200]),
            // Without a word.
            1 => greeted.call.port.mute_after(0),
            _ => {}
        }
        drop((held, greeted));
    }
}

async fn lists(attacker: &mut Attacker) {
    loop {
        let Some(mut greeted) = attacker.peer().await else { continue };
        loop {
            let mut list = Vec::new();
            for _ in 0..attacker.random.random_range(0..300) {
                list.extend(attacker.bytes(32));
            }
            if attacker.random.random_bool(0.5) {
                let chain = attacker.chain();
                list.extend_from_slice(&chain.0);
            }
            if greeted.tell.write_all(&framed(&list)).await.is_err() {
                break;
            }
            attacker.pause(0, 20).await;
        }
    }
}

/// The first packet that a call sends.
async fn first_packet(attacker: &mut Attacker) -> Vec<u8> {
    let (port, victim) = (attacker.port(), attacker.victim());
    port.keep();
    let calling = attacker.call_from(port.clone(), victim, false);
    drop(tokio::time::timeout(std::time::Duration::from_millis(10), calling).await);
    port.kept().first().map(|packet| packet.to_vec()).unwrap_or_default()
}

async fn garbage(attacker: &mut Attacker) {
    let (port, first) = (attacker.port(), first_packet(attacker).await);
    loop {
        let victim = attacker.victim();
        let length = attacker.random.random_range(1..1_400);
        let mut packet = attacker.bytes(length);
        if attacker.random.random_bool(0.5) && !first.is_empty() {
            packet = first.clone();
            for _ in 0..attacker.random.random_range(0..8) {
                let at = attacker.random.random_range(0..packet.len());
                packet[at] ^= 1 << attacker.random.random_range(0..8);
            }
        }
        attacker.internet.send(attacker.host, port.address(), victim.address, &packet);
        attacker.pause(1, 20).await;
    }
}

async fn spoofed(attacker: &mut Attacker) {
    loop {
        let (victim, first) = (attacker.victim(), first_packet(attacker).await);
        for _ in 0..20 {
            let from: SocketAddr = if attacker.random.random_bool(0.5) {
                attacker.victim().address
            } else {
                ([192, 0, 2, attacker.random.random_range(1..=20)], 7_000).into()
            };
            let length = attacker.random.random_range(20..=first.len().max(21));
            let packet = if attacker.random.random_bool(0.7) { first.clone() } else { attacker.bytes(length) };
            attacker.internet.send(attacker.host, from, victim.address, &packet);
            attacker.pause(1, 10).await;
        }
    }
}

async fn deaf(attacker: &mut Attacker) {
    let mut held = Vec::new();
    for victim in attacker.victims.clone() {
        held.extend(attacker.deaf_peer(victim).await);
    }
    std::future::pending().await
}

async fn deaf_churns(attacker: &mut Attacker) {
    let chains = attacker.chains.iter().flat_map(|chain| chain.0).collect::<Vec<_>>();
    let lists = [framed(&[]), framed(&chains)].concat();
    let mut held = std::collections::BTreeMap::new();
    loop {
        for (index, victim) in attacker.victims.clone().into_iter().enumerate() {
            if !held.contains_key(&index) {
                held.extend(attacker.deaf_peer(victim).await.map(|greeted| (index, greeted)));
            }
            let Some(greeted) = held.get_mut(&index) else { continue };
            if greeted.tell.write_all(&lists).await.is_err() {
                held.remove(&index);
            }
        }
        attacker.pause(5, 20).await;
    }
}

async fn churns(attacker: &mut Attacker) {
    loop {
        let Some(mut greeted) = attacker.peer().await else { continue };
        for _ in 0..4 {
            let Ok(mut stream) = greeted.call.connection.open_uni().await else { break };
            let much = framed(&[]).repeat(4_096);
            let begun = [header(attacker.chain(), Purpose::Consensus), much].concat();
            let writing = stream.write_all(&begun);
            drop(tokio::time::timeout(std::time::Duration::from_millis(200), writing).await);
            let chains = attacker.chains.iter().flat_map(|chain| chain.0).collect::<Vec<_>>();
            let (left, joined) = (framed(&[]), framed(&chains));
            drop(greeted.tell.write_all(&[left, joined].concat()).await);
        }
        attacker.pause(1, 20).await;
    }
}
