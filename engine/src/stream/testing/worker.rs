use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::plans::{listener, manager};
use crate::bytes::{Out, Outbox, Pool};
use crate::codec::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, Refused, StreamId,
};
use crate::codec::{AnyCodec, h1, h2, tcp};
use crate::message::{Key, Peer, Protocol, ResetReason, Slab, Tick};
use crate::plan::{self, Address, Delta, Kind, LocalWorkload, Removal, Upsert};
use crate::snapshot::{Builder, Chain, KeyRing, Snapshot, Terminal};
use crate::stream::site::{HttpSite, Site};
use crate::stream::{
    Binding, Close, Dial, DialError, DialErrorKind, Owner, Port, Speak, Streams, TimerSlot, Traffic,
};
use crate::telemetry::{Facts, Recorder, Telemetry};

/// A connection without a socket.
pub struct Link {
    pub codec: Option<Box<dyn Codec>>,
    protocol: Protocol,
    speak: Option<Speak>,
    pub outbox: Outbox,
    carry: Vec<u8>,
    /// The peer has sent its last byte.
    ended: bool,
    binding: Binding,
    peer: Arc<Peer>,
    closing: Option<Close>,
    blocked: bool,
    /// What the peer has read.
    pub written: Vec<u8>,
    /// The peer reads nothing.
    pub stalled: bool,
    pub address: Option<Address>,
    /// We said our last byte.
    pub finished: bool,
    /// What a dial offers by ALPN instead of what its context says.
    pub offered: Option<Vec<String>>,
}

/// How a connection that is gone ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    Closed,
    Reset,
}

/// What a test looks at of the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub status: u16,
    pub flags: String,
    pub details: String,
    pub attempts: u32,
    pub received: u64,
    pub sent: u64,
    pub upstream: String,
    pub protocol: Protocol,
    pub grpc_status: Option<u32>,
    pub trace_id: String,
    pub service_time: Option<u32>,
}

/// The port of a worker in memory.
pub struct Memory {
    pub links: Slab<Link>,
    pub pool: Pool,
    pub now: Tick,
    seed: u64,
    pub snapshot: Arc<Snapshot>,
    recorder: Recorder,
    pub telemetry: Arc<Telemetry>,
    pub dialled: VecDeque<Key>,
    pub timers: BTreeMap<Owner, Tick>,
    pub gone: BTreeMap<Key, (Gone, Vec<u8>)>,
    pub records: Vec<Record>,
    pub emitted: Vec<plan::Event>,
    pub drains: bool,
    pub overloaded: bool,
}

impl Port for Memory {
    fn now(&self) -> Tick {
        self.now
    }
    fn clock(&mut self) -> Tick {
        self.now
    }
    fn wall(&self) -> u64 {
        784_111_777_000_000_000 + self.now.0
    }
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 11
    }
    fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }
    fn refuses_exchanges(&self) -> bool {
        self.overloaded
    }
    fn ends_keep_alive(&self) -> bool {
        self.drains
    }
    fn perform(&mut self, connection: Key, command: Command<'_>) -> Result<Accepted, Refused> {
        let now = self.now;
        let link = self.links.get_mut(connection).ok_or(Refused)?;
        let codec = link.codec.as_mut().ok_or(Refused)?;
        let taken = codec.perform(command, &mut Out::new(&mut link.outbox, &mut self.pool), now);
        link.blocked |= link.outbox.room() == 0;
        taken
    }
    fn open_stream(&mut self, connection: Key) -> Option<StreamId> {
        self.links.get_mut(connection)?.codec.as_mut()?.open_stream()
    }
    fn open_streams(&self, connection: Key) -> usize {
        self.codec(connection).map_or(0, |codec| codec.open_streams())
    }
    fn is_open(&self, connection: Key) -> bool {
        self.codec(connection).is_some_and(|codec| codec.ending() == Ending::Open)
    }
    fn protocol(&self, connection: Key) -> Option<Protocol> {
        self.links.get(connection).filter(|link| link.codec.is_some()).map(|link| link.protocol)
    }
    fn binding(&mut self, connection: Key) -> Option<&mut Binding> {
        self.links.get_mut(connection).map(|link| &mut link.binding)
    }
    fn peer(&self, connection: Key) -> Option<&Arc<Peer>> {
        self.links.get(connection).map(|link| &link.peer)
    }
    fn dial(&mut self, dial: Dial) -> Key {
        let key =
            self.links.insert(Link {
                codec: None,
                speak: Some(dial.speak),
                binding: dial.binding,
                address: Some(dial.address),
                offered: dial.tls.as_ref().and_then(|tls| tls.application_protocols.as_ref()).map(|names| {
                    names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
                }),
                ..Link::new(Peer { is_tls: dial.tls.is_some(), ..Peer::default() })
            });
        self.dialled.push_back(key);
        key
    }
    fn close(&mut self, connection: Key, how: Close) {
        if let Some(link) = self.links.get_mut(connection) {
            link.closing.get_or_insert(how);
        }
    }
    fn arm(&mut self, _: &mut TimerSlot, owner: Owner, at: Option<Tick>) {
        match at {
            Some(at) => {
                assert!(at >= self.now, "{owner:?} armed in the past");
                self.timers.insert(owner, at);
            }
            None => {
                self.timers.remove(&owner);
            }
        }
    }
    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }
    fn log(&mut self, _: &Chain, facts: &Facts<'_>) {
        self.records.push(Record {
            status: facts.status,
            flags: facts.flags.text(),
            details: facts.details.to_owned(),
            attempts: facts.attempts,
            received: facts.received,
            sent: facts.sent,
            upstream: facts.upstream.map_or_else(String::new, |address| address.to_string()),
            protocol: facts.protocol,
            grpc_status: facts.grpc_status,
            trace_id: facts.trace_id().to_owned(),
            service_time: facts.service_time,
        });
    }
    fn emit(&mut self, event: plan::Event) {
        self.emitted.push(event);
    }
}

impl Memory {
    fn codec(&self, connection: Key) -> Option<&dyn Codec> {
        self.links.get(connection)?.codec.as_deref()
    }
}

fn upsert<T: serde::Serialize>(kind: Kind, name: &str, value: &T) -> Upsert {
    let body = plan::encode(value).unwrap();
    let digest = format!("{body:?}");
    Upsert { resource: kind, name: name.into(), digest, body }
}

/// A codec, whichever, with the name of its protocol.
fn known(codec: AnyCodec) -> (Box<dyn Codec>, Protocol) {
    let protocol = match &codec {
        AnyCodec::Tcp(_) => Protocol::Tcp,
        AnyCodec::Http1Server(_) | AnyCodec::Http1Client(_) => Protocol::Http11,
        AnyCodec::Http2Server(_) | AnyCodec::Http2Client(_) => Protocol::Http2,
        AnyCodec::Rpc(_) | AnyCodec::Native(_) => Protocol::Rpc,
    };
    (Box::new(codec), protocol)
}

impl Link {
    /// Bytes the codec has not wanted: they would still lie in the kernel.
    pub fn unread(&self) -> usize {
        self.carry.len()
    }

    fn new(peer: Peer) -> Self {
        Self {
            codec: None,
            protocol: Protocol::Tcp,
            speak: None,
            outbox: Outbox::default(),
            carry: Vec::new(),
            ended: false,
            binding: Binding::None,
            peer: Arc::new(peer),
            closing: None,
            blocked: false,
            written: Vec::new(),
            stalled: false,
            address: None,
            finished: false,
            offered: None,
        }
    }
}

/// A worker: what tests drive.
pub struct Worker {
    pub port: Memory,
    pub streams: Streams,
    builder: Builder,
}

impl Worker {
    /// With these resources in force.
    pub fn new(listener: &plan::Listener, tables: &[plan::RouteTable], clusters: &[plan::Cluster]) -> Self {
        let telemetry = Telemetry::new(LocalWorkload::default());
        let recorder = telemetry.recorder();
        let mut worker = Self {
            port: Memory {
                links: Slab::default(),
                pool: Pool::default(),
                now: Tick(1_000_000_000),
                seed: 7,
                snapshot: Arc::default(),
                recorder,
                telemetry,
                dialled: VecDeque::new(),
                timers: BTreeMap::new(),
                gone: BTreeMap::new(),
                records: Vec::new(),
                emitted: Vec::new(),
                drains: false,
                overloaded: false,
            },
            streams: Streams::new(1, 1, &LocalWorkload::default()),
            builder: Builder::new(Arc::new(KeyRing::default()), 1),
        };
        worker.apply(listener, tables, clusters);
        worker
    }

    /// One HTTP listener, its routes, its clusters.
    pub fn http(routes: Vec<plan::Route>, clusters: &[plan::Cluster]) -> Self {
        let listener = listener(plan::Terminal::Http { manager: manager() });
        Self::new(&listener, &[super::plans::table(routes)], clusters)
    }

    /// A certificate and trust in it, for clusters that name them `own` and `roots`.
    pub fn with_identity(mut self, clusters: &[plan::Cluster]) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["own".into()]).unwrap().self_signed(&key).unwrap();
        let certificates = certificate.pem().into_bytes();
        let chain = plan::CertificateChain {
            certificates: certificates.clone(),
            key: key.serialize_pem().into_bytes(),
            key_id: None,
        };
        let context = plan::ValidationContext { roots: certificates, domains: Vec::new() };
        let mut upserts: Vec<Upsert> = [
            ("own", plan::SecretMaterial::Certificate { chain }),
            ("roots", plan::SecretMaterial::Validation { context }),
        ]
        .into_iter()
        .map(|(name, material)| upsert(Kind::Secret, name, &plan::Secret { name: name.into(), material }))
        .collect();
        upserts.extend(clusters.iter().map(|cluster| upsert(Kind::Cluster, &cluster.name, cluster)));
        self.put(upserts);
        self
    }

    pub fn apply(
        &mut self,
        listener: &plan::Listener,
        tables: &[plan::RouteTable],
        clusters: &[plan::Cluster],
    ) {
        let mut upserts = vec![upsert(Kind::Listener, &listener.name, listener)];
        upserts.extend(tables.iter().map(|table| upsert(Kind::Route, &table.name, table)));
        upserts.extend(clusters.iter().map(|cluster| upsert(Kind::Cluster, &cluster.name, cluster)));
        self.put(upserts);
    }

    pub fn put_cluster(&mut self, cluster: &plan::Cluster) {
        self.put(vec![upsert(Kind::Cluster, &cluster.name, cluster)]);
    }

    pub fn remove_cluster(&mut self, name: &str) {
        let removal = Removal { resource: Kind::Cluster, name: name.to_owned() };
        self.take_up(Delta { upserts: Vec::new(), removals: vec![removal] });
    }

    fn put(&mut self, upserts: Vec<Upsert>) {
        self.take_up(Delta { upserts, removals: Vec::new() });
    }

    fn take_up(&mut self, delta: Delta) {
        let (_, report) = self.builder.apply(delta, self.port.now);
        assert_eq!(report.refused, []);
        self.port.snapshot = Arc::clone(self.builder.snapshot());
        self.streams.snapshot_changed(&mut self.port);
    }

    fn chain(&self) -> Arc<Chain> {
        let listener = self.port.snapshot.listeners.get("listener").unwrap();
        Arc::clone(listener.chains.first().unwrap())
    }

    fn client(&mut self, codec: AnyCodec, peer: Peer) -> Key {
        let (codec, protocol) = known(codec);
        self.client_of(codec, protocol, peer)
    }

    fn client_of(&mut self, codec: Box<dyn Codec>, protocol: Protocol, peer: Peer) -> Key {
        let chain = self.chain();
        let key = self.port.links.insert(Link { codec: Some(codec), protocol, ..Link::new(peer) });
        self.streams.opened(&mut self.port, key, &chain);
        self.settle();
        key
    }

    pub fn connect(&mut self) -> Key {
        self.client(h1::Server::new(h1::Settings::default()).into(), client_peer())
    }

    /// A client of HTTP/1 whose requests pass these filters.
    pub fn connect_through(&mut self, filters: &Arc<crate::filter::Chain>) -> Key {
        let key = self.connect();
        let chain = self.chain();
        let instance = self.streams.shared.instances.of(filters);
        if let Some(Binding::Downstream(bound)) = self.port.binding(key) {
            let http = bound.site.http.as_ref().map(|http| HttpSite {
                manager: Arc::clone(&http.manager),
                filters: instance,
                counters: Arc::clone(&http.counters),
            });
            bound.site = Rc::new(Site::of(&chain, &bound.site.peer, http, 1));
        }
        key
    }

    pub fn connect_http2(&mut self) -> Key {
        self.client(h2::Server::new(h2::Settings::default()).into(), client_peer())
    }

    pub fn connect_as(&mut self, codec: AnyCodec, peer: Peer) -> Key {
        self.client(codec, peer)
    }

    pub fn connect_tcp(&mut self) -> Key {
        self.client(tcp::Connection::new().into(), client_peer())
    }

    /// The oldest dial that has not been answered: succeeds.
    pub fn accept(&mut self) -> Key {
        self.accept_alpn(None)
    }

    pub fn accept_alpn(&mut self, alpn: Option<&str>) -> Key {
        let key = self.port.dialled.pop_front().expect("a dial");
        let link = self.port.links.get_mut(key).unwrap();
        let (codec, protocol) = known(link.speak.take().unwrap().codec(alpn));
        self.accept_with(key, codec, protocol);
        key
    }

    fn accept_with(&mut self, key: Key, codec: Box<dyn Codec>, protocol: Protocol) {
        let link = self.port.links.get_mut(key).unwrap();
        (link.codec, link.protocol) = (Some(codec), protocol);
        self.streams.dialed(&mut self.port, key, Ok(()));
        self.offer(key);
        self.settle();
    }

    /// A client of the framed protocol that the listener speaks.
    pub fn connect_rpc(&mut self) -> Key {
        let chain = self.chain();
        let Terminal::Http(manager) = &chain.terminal else { panic!("no listener of HTTP or RPC") };
        let codec = manager.rpc.first().expect("a protocol").server();
        self.client(codec, client_peer())
    }

    /// The oldest dial that has not been answered: fails.
    pub fn refuse(&mut self) {
        self.fail_dial(DialErrorKind::Connect, "connection refused");
    }

    pub fn fail_dial(&mut self, kind: DialErrorKind, what: &str) {
        let key = self.port.dialled.pop_front().expect("a dial");
        let error = DialError { kind, what: what.into() };
        self.streams.dialed(&mut self.port, key, Err(error));
        self.port.links.remove(key);
        self.settle();
    }

    /// What the oldest unanswered dial offers by ALPN, if it is not what its context says.
    pub fn next_offer(&self) -> Option<Vec<String>> {
        self.port.links.get(*self.port.dialled.front()?)?.offered.clone()
    }

    /// Where the oldest unanswered dial goes.
    pub fn next_dial(&self) -> Option<String> {
        let key = self.port.dialled.front()?;
        match self.port.links.get(*key)?.address.as_ref()? {
            Address::Socket { ip, port } => Some(format!("{ip}:{port}")),
            _ => None,
        }
    }

    /// Bytes of the peer.
    pub fn receive(&mut self, connection: Key, bytes: impl AsRef<[u8]>) {
        if let Some(link) = self.port.links.get_mut(connection) {
            link.carry.extend_from_slice(bytes.as_ref());
        }
        self.offer(connection);
        self.settle();
    }

    /// The peer's last byte has come.
    pub fn end(&mut self, connection: Key) {
        if let Some(link) = self.port.links.get_mut(connection) {
            link.ended = true;
        }
        self.offer(connection);
        self.settle();
    }

    /// The socket is lost.
    pub fn lose(&mut self, connection: Key) {
        self.reset_streams(connection, ResetReason::ConnectionClosed);
        self.remove(connection, Gone::Reset, true);
        self.settle();
    }

    fn reset_streams(&mut self, connection: Key, reason: ResetReason) {
        loop {
            let link = self.port.links.get_mut(connection);
            let Some(stream) = link.and_then(|link| link.codec.as_mut()?.next_reset()) else { return };
            let event = Event::StreamReset { stream, reason, unprocessed: false };
            self.streams.event(&mut self.port, connection, event);
        }
    }

    fn remove(&mut self, connection: Key, how: Gone, by_peer: bool) {
        if self.port.links.get(connection).is_none() {
            return;
        }
        let traffic = Traffic { by_peer, ..Traffic::default() };
        self.streams.closed(&mut self.port, connection, traffic);
        if let Some(mut link) = self.port.links.remove(connection) {
            link.outbox.clear(&mut self.port.pool);
            self.port.gone.insert(connection, (how, link.written));
        }
    }

    /// Everything that the codec makes of what has come.
    fn offer(&mut self, connection: Key) {
        let Some(link) = self.port.links.get_mut(connection) else { return };
        let (mut buffer, ended, now) = (std::mem::take(&mut link.carry), link.ended, self.port.now);
        let mut consumed = 0;
        loop {
            let Some(link) = self.port.links.get_mut(connection) else { return };
            let Some(codec) = link.codec.as_mut() else { break };
            let rest = buffer.get_mut(consumed..).unwrap();
            // What the codec does not want stays in the kernel.
            let wanted = if codec.wants_input() { rest.len() } else { 0 };
            let all = wanted == rest.len();
            let mut input = Input::new(&mut rest[..wanted], ended && all);
            let next =
                codec.next_event(&mut input, &mut Out::new(&mut link.outbox, &mut self.port.pool), now);
            let taken = input.consumed();
            match next {
                Ok(Some(event)) => self.streams.event(&mut self.port, connection, event),
                Ok(None) => {
                    consumed += taken;
                    break;
                }
                Err(fault) => {
                    consumed += taken;
                    self.fault(connection, &fault);
                    break;
                }
            }
            consumed += taken;
        }
        if let Some(link) = self.port.links.get_mut(connection) {
            buffer.drain(..consumed);
            link.carry = buffer;
        }
    }

    fn fault(&mut self, connection: Key, fault: &ConnectionFault) {
        self.streams.fault(&mut self.port, connection, fault);
        self.reset_streams(connection, fault.reason);
    }

    /// The end of a turn, until nothing moves: flushes, room, closes.
    pub fn settle(&mut self) {
        for _ in 0..1_000 {
            let mut moved = false;
            for key in self.port.links.keys() {
                moved |= self.settle_link(key);
            }
            if !moved {
                return;
            }
        }
        panic!("the worker does not come to rest");
    }

    fn settle_link(&mut self, key: Key) -> bool {
        let Some(link) = self.port.links.get_mut(key) else { return false };
        let mut moved = false;
        if !link.stalled && !link.outbox.is_empty() && link.closing != Some(Close::Reset) {
            link.written.extend(link.outbox.pieces().flatten());
            link.outbox.clear(&mut self.port.pool);
            moved = true;
        }
        if std::mem::take(&mut link.blocked) && link.outbox.room() > 0 {
            if let Some(codec) = link.codec.as_mut() {
                codec.on_room();
            }
            self.offer(key);
            return true;
        }
        let Some(link) = self.port.links.get_mut(key) else { return true };
        if link.outbox.room() == 0 {
            link.blocked = true;
        }
        let ending = link.codec.as_ref().map_or(Ending::Open, |codec| codec.ending());
        link.finished |= ending == Ending::HalfClosed;
        let flushed = link.outbox.is_empty();
        match (link.closing, ending) {
            (Some(Close::Reset), _) | (_, Ending::Aborted) => self.remove(key, Gone::Reset, false),
            (Some(Close::Flushed), _) | (_, Ending::Closed | Ending::Lingering) if flushed => {
                self.reset_streams(key, ResetReason::ConnectionClosed);
                self.remove(key, Gone::Closed, false);
            }
            _ => {
                let wants = link.codec.as_ref().is_some_and(|codec| codec.wants_input());
                if wants && !link.carry.is_empty() {
                    let before = link.carry.len();
                    self.offer(key);
                    let after = self.port.links.get(key).map_or(0, |link| link.carry.len());
                    return moved || before != after;
                }
                return moved;
            }
        }
        true
    }

    /// The next deadline of a framed protocol's codec.
    fn next_heartbeat(&self) -> Option<(Tick, Key)> {
        let framed = self.port.links.iter().filter(|(_, link)| link.protocol == Protocol::Rpc);
        framed.filter_map(|(key, link)| Some((link.codec.as_ref()?.deadline()?, key))).min()
    }

    fn beat(&mut self, key: Key) {
        let now = self.port.now;
        let Some(link) = self.port.links.get_mut(key) else { return };
        let Some(codec) = link.codec.as_mut() else { return };
        let fault = codec.on_deadline(now, &mut Out::new(&mut link.outbox, &mut self.port.pool)).err();
        if let Some(fault) = fault {
            self.fault(key, &fault);
        }
        self.settle();
    }

    /// Lets time pass; timers fire in their order.
    pub fn pass(&mut self, milliseconds: u64) {
        let until = self.port.now.after_milliseconds(milliseconds);
        for _ in 0..10_000 {
            let next = self.port.timers.iter().map(|(owner, at)| (*at, *owner)).min();
            let next = next.filter(|(at, _)| *at <= until);
            if let Some((at, key)) = self
                .next_heartbeat()
                .filter(|(at, _)| *at <= until && next.is_none_or(|(earlier, _)| *at < earlier))
            {
                self.port.now = self.port.now.max(at);
                self.beat(key);
                continue;
            }
            let Some((at, owner)) = next else {
                self.port.now = until;
                return;
            };
            self.port.now = self.port.now.max(at);
            self.port.timers.remove(&owner);
            self.streams.timer(&mut self.port, owner);
            self.settle();
        }
        panic!("a timer fires for ever");
    }

    /// What the peer has read since the last look, as text.
    pub fn sent(&mut self, connection: Key) -> String {
        String::from_utf8_lossy(&self.sent_bytes(connection)).into_owned()
    }

    pub fn sent_bytes(&mut self, connection: Key) -> Vec<u8> {
        match self.port.links.get_mut(connection) {
            Some(link) => std::mem::take(&mut link.written),
            None => {
                self.port.gone.get_mut(&connection).map_or_else(Vec::new, |(_, bytes)| std::mem::take(bytes))
            }
        }
    }

    pub fn gone(&self, connection: Key) -> Option<Gone> {
        self.port.gone.get(&connection).map(|(how, _)| *how)
    }

    pub fn is_open(&self, connection: Key) -> bool {
        self.port.links.get(connection).is_some()
    }

    /// The peer stops reading, or reads again.
    pub fn stall(&mut self, connection: Key, stalled: bool) {
        if let Some(link) = self.port.links.get_mut(connection) {
            link.stalled = stalled;
        }
        self.settle();
    }

    /// A connection to an endpoint on which a request waits for its answer.
    pub fn busy_upstream(&self) -> Option<Key> {
        let busy = |link: &Link| {
            link.address.is_some() && link.codec.as_ref().is_some_and(|codec| codec.open_streams() > 0)
        };
        self.port.links.iter().find(|(_, link)| busy(link)).map(|(key, _)| key)
    }

    /// Where a dialled connection leads.
    pub fn address_of(&self, connection: Key) -> String {
        match self.port.links.get(connection).and_then(|link| link.address.as_ref()) {
            Some(Address::Socket { ip, port }) => format!("{ip}:{port}"),
            _ => String::new(),
        }
    }

    /// The newest record.
    pub fn record(&self) -> &Record {
        self.port.records.last().expect("a record")
    }

    /// `cluster.<name>.<counter>`, all workers.
    pub fn cluster_counter(&self, name: &str, counter: crate::telemetry::ClusterCounter) -> i64 {
        self.port.recorder.cluster(name).get(counter)
    }

    pub fn http_counter(&self, counter: crate::telemetry::HttpCounter) -> i64 {
        self.port.recorder.http("test").get(counter)
    }
}

pub fn client_peer() -> Peer {
    Peer {
        remote: Some("10.0.0.9:4000".parse().unwrap()),
        local: Some("10.0.0.1:8080".parse().unwrap()),
        ..Peer::default()
    }
}
