//! What an attacker needs: ports of its own host, raw connections, and the bytes of the protocol. The protocol is
//! written here again and not taken from the crate under attack.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, RecvStream, SendStream, ServerConfig, TransportConfig, VarInt,
};
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use subnode_network::{ChainKey, NodeId, NodeKey, Purpose};
use tokio::{task::JoinSet, time::Instant};

use super::{
    datagrams::{Clock, Internet, Port},
    memory::{Owner, owned},
};

/// The network that all members are of.
pub(super) const NETWORK: &str = "simulated";

/// A member, as an attacker knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Victim {
    pub id: NodeId,
    pub address: SocketAddr,
}

/// When connections were begun, of all attackers: a victim holds each for some seconds, whatever becomes of it.
#[derive(Clone, Default)]
pub(crate) struct Attempts(Arc<Mutex<VecDeque<Instant>>>);

impl Attempts {
    fn begin(&self) {
        self.0.lock().unwrap().push_back(Instant::now());
    }

    /// How many were begun within this time.
    pub(crate) fn within(&self, time: Duration) -> usize {
        let (mut begun, now) = (self.0.lock().unwrap(), Instant::now());
        while begun.front().is_some_and(|at| now.duration_since(*at) > time) {
            begun.pop_front();
        }
        begun.len()
    }
}

/// A host that attacks.
pub(crate) struct Attacker {
    pub internet: Internet,
    pub host: IpAddr,
    pub random: StdRng,
    pub victims: Vec<Victim>,
    pub chains: Vec<ChainKey>,
    pub attempts: Attempts,
    ports: u16,
    /// The key of a member that breaks the rules, or of a stranger that keeps one; others make up keys as they need
    /// them.
    kept_key: Option<[u8; 32]>,
}

/// A connection of an attacker's. Its endpoint lives as long.
pub(crate) struct Call {
    pub connection: Connection,
    pub port: Arc<Port>,
    _endpoint: Endpoint,
}

/// A connection that was greeted, and the greeting's stream.
pub(crate) struct Greeted {
    pub call: Call,
    pub tell: SendStream,
    /// Kept, as one that is dropped is stopped.
    _hear: RecvStream,
}

fn transport(deaf: bool) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(IdleTimeout::try_from(Duration::from_secs(10)).ok()).keep_alive_interval(Some(Duration::from_secs(3)));
    // What is not sent yet is made up for nothing.
    transport.send_window(128 << 10);
    if deaf {
        // Whatever is sent waits with its sender.
        transport.stream_receive_window(VarInt::from_u32(1 << 10)).receive_window(VarInt::from_u32(4 << 10));
    }
    Arc::new(transport)
}

/// A greeting: the version, the network's name, keys of chains.
pub(super) fn greeting(chains: &[ChainKey]) -> Vec<u8> {
    let mut hello = vec![0, 1, u8::try_from(NETWORK.len()).unwrap()];
    hello.extend_from_slice(NETWORK.as_bytes());
    chains.iter().for_each(|chain| hello.extend_from_slice(&chain.0));
    hello
}

/// A frame: its length, and what it is.
pub(super) fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

/// What a stream begins with.
pub(super) fn header(chain: ChainKey, purpose: Purpose) -> Vec<u8> {
    [&chain.0[..], &[purpose as u8]].concat()
}

/// Greets.
pub(super) async fn greet(call: Call, chains: &[ChainKey]) -> Option<Greeted> {
    let (mut tell, mut hear) = call.connection.open_bi().await.ok()?;
    tell.write_all(&framed(&greeting(chains))).await.ok()?;
    let mut length = [0; 4];
    hear.read_exact(&mut length).await.ok()?;
    let mut hello = vec![0; u32::from_be_bytes(length) as usize];
    hear.read_exact(&mut hello).await.ok()?;
    Some(Greeted { call, tell, _hear: hear })
}

/// Takes greetings of members that call, and nothing else.
async fn take_calls(endpoint: Endpoint, chains: Vec<ChainKey>) {
    let mut taken = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let chains = chains.clone();
        taken.spawn(owned(Owner::Strangers, async move {
            let Ok(connection) = incoming.await else { return };
            let Ok((mut tell, mut hear)) = connection.accept_bi().await else { return };
            let mut length = [0; 4];
            if hear.read_exact(&mut length).await.is_ok() && tell.write_all(&framed(&greeting(&chains))).await.is_ok() {
                connection.closed().await;
            }
        }));
    }
}

impl Attacker {
    pub(crate) fn new(
        seed: u64,
        internet: Internet,
        host: IpAddr,
        victims: Vec<Victim>,
        chains: Vec<ChainKey>,
        attempts: Attempts,
    ) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { internet, host, random, victims, chains, attempts, ports: 0, kept_key: None }
    }

    /// With the key of a member.
    pub(crate) fn of_member(self, secret: [u8; 32]) -> Self {
        Self { kept_key: Some(secret), ..self }
    }

    /// Uses one key from now on.
    pub(crate) fn keep_key(&mut self, secret: [u8; 32]) {
        self.kept_key = Some(secret);
    }

    pub(crate) async fn pause(&mut self, least_ms: u64, most_ms: u64) {
        let wait = self.random.random_range(least_ms..=most_ms);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    pub(crate) fn victim(&mut self) -> Victim {
        self.victims[self.random.random_range(0..self.victims.len())]
    }

    pub(crate) fn chain(&mut self) -> ChainKey {
        self.chains[self.random.random_range(0..self.chains.len())]
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.random.fill_bytes(&mut bytes);
        bytes
    }

    fn key(&mut self) -> NodeKey {
        let mut secret = self.kept_key.unwrap_or_default();
        if self.kept_key.is_none() {
            self.random.fill_bytes(&mut secret);
        }
        NodeKey::from_secret(secret).unwrap()
    }

    /// A port of this host that was not used before.
    pub(crate) fn port(&mut self) -> Arc<Port> {
        self.ports += 1;
        self.internet.port((self.host, 10_000 + self.ports).into())
    }

    fn endpoint(&mut self, port: Arc<Port>, server: Option<ServerConfig>) -> Endpoint {
        let mut config = EndpointConfig::default();
        let mut seed = [0; 32];
        self.random.fill_bytes(&mut seed);
        config.rng_seed(Some(seed)).max_udp_payload_size(1_472).unwrap();
        Endpoint::new_with_abstract_socket(config, server, port, Arc::new(Clock::new(Owner::Strangers, self.random.random()))).unwrap()
    }

    /// Calls a victim from a port.
    pub(crate) async fn call_from(&mut self, port: Arc<Port>, victim: Victim, deaf: bool) -> Option<Call> {
        // Time passes, whatever fails.
        self.pause(1, 5).await;
        let key = self.key();
        let mut config = ClientConfig::new(Arc::new(key.client(victim.id).unwrap()));
        config.transport_config(transport(deaf));
        let endpoint = self.endpoint(port.clone(), None);
        self.attempts.begin();
        let connecting = endpoint.connect_with(config, victim.address, "subnode").ok()?;
        let connection = tokio::time::timeout(Duration::from_secs(5), connecting).await.ok()?.ok()?;
        Some(Call { connection, port, _endpoint: endpoint })
    }

    pub(crate) async fn call(&mut self, victim: Victim) -> Option<Call> {
        let port = self.port();
        self.call_from(port, victim, false).await
    }

    /// Calls any victim and greets it.
    pub(crate) async fn peer(&mut self) -> Option<Greeted> {
        let victim = self.victim();
        let call = self.call(victim).await?;
        tokio::time::timeout(Duration::from_secs(5), greet(call, &self.chains)).await.ok()?
    }

    /// The same, as one that reads nothing.
    pub(crate) async fn deaf_peer(&mut self, victim: Victim) -> Option<Greeted> {
        let port = self.port();
        let call = self.call_from(port, victim, true).await?;
        tokio::time::timeout(Duration::from_secs(5), greet(call, &self.chains)).await.ok()?
    }

    /// Takes the calls of other members at this address, for as long as this is polled, and reads nothing of theirs.
    pub(crate) fn listen(&mut self, address: SocketAddr) -> impl Future<Output = ()> + use<> {
        let key = self.key();
        let mut server = ServerConfig::with_crypto(Arc::new(key.server().unwrap()));
        server.transport_config(transport(true));
        let port = self.internet.port(address);
        let endpoint = self.endpoint(port, Some(server));
        take_calls(endpoint, self.chains.clone())
    }
}
