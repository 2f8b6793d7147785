//! Framed RPC protocols, as `mainstay.protocols` compiles their descriptions. Items are named; the engine turns names into offsets.
//!
//! A *shape* is one order of items, all conditions resolved. An *opening* says by the first bytes which shape a frame has and
//! what kind of frame it is; openings are tried in order. Everything a shape holds lies behind the other: fixed items first
//! (whose place is known beforehand), then those whose length a field tells.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::route::serde_bytes_compat;

/// A framed protocol that a port speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RpcCodec {
    /// What a description says.
    Described { protocol: Box<RpcProtocol> },
    /// Written in Rust: its name in the engine's table, which is the protocol's too, and what can be said of it, as JSON.
    Native { name: String, options: BTreeMap<String, serde_json::Value> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcProtocol {
    /// Scheme of requests, label in metrics.
    pub name: String,
    pub openings: Vec<RpcOpening>,
    pub shapes: Vec<RpcShape>,
    /// First bytes of a client's connection that surely are this protocol; empty: never guessed.
    pub detection: Vec<RpcPattern>,
    /// How the header map is written; the shapes say where.
    pub headers: Option<RpcHeaders>,
    /// The first source that gives text is taken.
    pub service: Vec<RpcSource>,
    pub method: Vec<RpcSource>,
    /// Milliseconds; the smallest positive one is taken.
    pub deadline: Vec<RpcSource>,
    /// What routes and logs see as headers besides the map.
    pub attributes: Vec<RpcAttribute>,
    pub trace: Option<RpcTrace>,
    pub body: Option<RpcBody>,
    /// HTTP status by the protocol's, and for those not listed.
    pub statuses: Vec<RpcStatus>,
    pub other_status: u16,
    /// The protocol's status by HTTP status, for replies made here.
    pub replies: Vec<RpcStatus>,
    pub other_reply: u64,
    pub error_replies: Vec<RpcTemplate>,
    pub heartbeat: Option<RpcHeartbeat>,
    pub heartbeat_answers: Vec<RpcTemplate>,
    /// Empty: never sent.
    pub go_away: Vec<RpcTemplate>,
    /// Items whose values a connection keeps from its first request on.
    pub pinned: Vec<String>,
    pub limits: RpcLimits,
}

/// A line of the engine's table of native codecs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcNative {
    pub name: String,
    /// One sentence for the reference page.
    pub about: String,
    /// First bytes of a client's connection that surely are this protocol; empty: never guessed.
    pub detection: Vec<RpcPattern>,
}

/// Up to 16 first bytes of a frame under a mask; both are equally long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcPattern {
    #[serde(with = "serde_bytes_compat")]
    pub mask: Vec<u8>,
    #[serde(with = "serde_bytes_compat")]
    pub value: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcOpening {
    pub pattern: RpcPattern,
    pub shape: u32,
    pub frame: RpcKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RpcKind {
    Request,
    OneWay,
    Response,
    Heartbeat,
    HeartbeatAnswer,
    GoAway,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcShape {
    pub name: String,
    pub items: Vec<RpcItem>,
    /// Size of the whole frame; `None`: the sum of its items.
    pub size: Option<RpcLength>,
    pub id: String,
    pub status: Option<RpcField>,
    /// The item with the header map.
    pub headers: Option<String>,
    /// The item with the body: the last but for fixed ones.
    pub body: String,
    pub checksum: Option<RpcChecksum>,
    /// The body is looked into if one of these holds, or if there are none.
    pub look_into_body: Vec<RpcPattern>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcItem {
    pub name: String,
    pub size: RpcSize,
    pub little_endian: bool,
    pub signed: bool,
    pub bits: Vec<RpcBits>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RpcSize {
    /// A number of 1 to 8 bytes.
    Number {
        bytes: u8,
    },
    /// These very bytes.
    Magic {
        #[serde(with = "serde_bytes_compat")]
        value: Vec<u8>,
    },
    Told {
        by: RpcLength,
    },
    /// What is left of the frame.
    Rest {},
}

/// Value of an item times and plus something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcLength {
    pub item: String,
    pub times: u32,
    pub plus: i64,
}

/// Some bits of a number, counted from the lowest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcBits {
    pub name: String,
    pub at: u8,
    pub count: u8,
}

/// An item, or some bits of it; `count` 0 means all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcField {
    pub item: String,
    pub at: u8,
    pub count: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcChecksum {
    pub item: String,
    pub algorithm: RpcAlgorithm,
    /// First and last item that it covers.
    pub first: String,
    pub last: String,
    /// The item is there if one of these holds, or if there are none.
    pub present: Vec<RpcPattern>,
    /// Wrong ones are faults.
    pub verify: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RpcAlgorithm {
    /// IEEE 802.3, as zlib has it.
    Crc32,
    /// Castagnoli's.
    Crc32c,
    Adler32,
    /// Sum of the bytes, cut to the item's width.
    Sum,
    /// All bytes by exclusive or.
    Xor,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RpcHeaders {
    /// Name and value, each behind its length; a negative length is a null if there may be nulls.
    Pairs {
        /// Bytes of the number of pairs in front; 0: none, pairs fill the item.
        count_bytes: u8,
        name_bytes: u8,
        value_bytes: u8,
        little_endian: bool,
        nulls: bool,
        last_wins: bool,
    },
    /// Name, `between`, value, `behind`.
    Text { between: String, behind: String, last_wins: bool },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcSource {
    pub from: RpcOrigin,
    /// Only what stands before (behind) the first such text; without one `before` gives nothing and `after` all.
    pub before: String,
    pub after: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RpcOrigin {
    /// A pair of the header map, or an attachment of the body; its name as written.
    Header {
        name: String,
    },
    /// Numbers are read as decimal text.
    Item {
        field: RpcField,
    },
    /// A value of the body, by its number in `RpcBody`.
    Body {
        number: u8,
    },
    Text {
        text: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcAttribute {
    pub name: String,
    pub sources: Vec<RpcSource>,
}

/// Where a call's trace is told: names of headers as they are written on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcTrace {
    /// Its text names the trace.
    pub id: Option<String>,
    /// It holds a W3C trace context.
    pub context: Option<String>,
    /// `true` or `1` if the trace is sampled; one that does not say is.
    pub sampled: Option<String>,
    /// What a call without a trace gets where tracing is on.
    pub begin: Vec<RpcTraceHeader>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcTraceHeader {
    pub name: String,
    pub value: RpcTraceValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RpcTraceValue {
    /// 32 hexadecimal digits.
    TraceId {},
    /// 16 hexadecimal digits.
    SpanId {},
    /// W3C's `traceparent`.
    Context {},
    /// `true` or `false`.
    Sampled {},
    Text {
        text: String,
    },
}

/// The body begins with hessian values, some of them texts that are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcBody {
    pub dialect: RpcDialect,
    /// The first value is an object; its fields of these names, each a body value by its order here.
    pub object: Vec<String>,
    /// Or: so many texts come first, each a body value by its order.
    pub values: u8,
    /// Behind the values: one value for each type in this one (a JVM descriptor), then a map of texts that become headers.
    pub attachments_behind: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RpcDialect {
    Draft,
    Final,
    /// Final if the first byte begins a class definition of that dialect, else draft.
    ByFirstByte,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcStatus {
    pub status: u64,
    pub http: u16,
}

/// How to make a frame out of one that was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcTemplate {
    /// Shape of the frame that items are copied from: what is answered, or a connection's first request.
    pub like: u32,
    pub shape: u32,
    pub values: Vec<RpcValue>,
    pub copies: Vec<String>,
    pub parts: Vec<RpcPart>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcValue {
    pub field: RpcField,
    pub value: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcPart {
    pub item: String,
    pub pieces: Vec<RpcPiece>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RpcPiece {
    Bytes {
        #[serde(with = "serde_bytes_compat")]
        value: Vec<u8>,
    },
    /// What went wrong, behind its length (0 bytes: without one).
    Message { length_bytes: u8, little_endian: bool },
    /// The status of the reply.
    Status { bytes: u8, little_endian: bool },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcHeartbeat {
    pub templates: Vec<RpcTemplate>,
    /// Milliseconds of silence before the first, and at most between two.
    pub interval: u64,
    pub longest_interval: u64,
    /// Milliseconds an answer may take.
    pub timeout: u64,
    /// Answers missing in a row that end the connection.
    pub misses: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcLimits {
    /// Bytes of a frame, and of all in front of its body.
    pub frame: u64,
    pub head: u64,
    /// Pairs of a header map.
    pub headers: u32,
    /// Calls in flight on a connection.
    pub calls: u32,
    /// Calls in flight on one of ours to a provider; 1: it answers one after the other.
    pub provider_calls: u32,
}

/// What the engine understands of some frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcExplained {
    pub frames: Vec<RpcSeen>,
    /// Bytes that were not understood, and why; empty if there are none.
    pub left: u64,
    pub problem: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcSeen {
    /// In the bytes that were given.
    pub offset: u64,
    pub size: u64,
    pub frame: RpcKind,
    pub shape: String,
    pub rows: Vec<RpcRow>,
    pub service: String,
    pub method: String,
    /// HTTP status that stands for the response's.
    pub status: Option<u16>,
    /// Milliseconds.
    pub deadline: Option<u64>,
    pub headers: Vec<(String, String)>,
    /// Whether it is right; `None` without one.
    pub checksum: Option<bool>,
}

/// A field with its bytes (the first of a long part), or some of its bits, which have none of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcRow {
    pub name: String,
    /// In the frame.
    pub offset: u64,
    pub length: u64,
    #[serde(with = "serde_bytes_compat")]
    pub bytes: Vec<u8>,
    pub number: Option<i64>,
}
