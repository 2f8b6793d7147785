//! Protocols made up from dice: what kinds of fields, how wide, in which order, with which checksum; and frames of them.
//!
//! In: bytes that stand for rolled dice (none left: zeros). Out: a plan that `compile` must take, and frames that a codec of it must
//! understand. Used by fuzz targets and by `tests/rpc_descriptions.rs`.

use mainstay_engine::plan::{
    RpcAlgorithm, RpcBody, RpcChecksum, RpcDialect, RpcField, RpcHeaders, RpcHeartbeat, RpcItem, RpcKind,
    RpcLength, RpcLimits, RpcOpening, RpcOrigin, RpcPattern, RpcProtocol, RpcShape, RpcSize, RpcSource,
    RpcStatus, RpcTemplate, RpcValue,
};

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const ONE_WAY: u8 = 3;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ANSWER: u8 = 5;
const GO_AWAY: u8 = 6;

/// Rolled beforehand.
pub struct Dice<'a>(pub &'a [u8]);

impl Dice<'_> {
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub fn below(&mut self, limit: u8) -> u8 {
        self.byte() % limit.max(1)
    }

    pub fn bytes(&mut self, most: u8) -> Vec<u8> {
        let length = self.below(most.saturating_add(1));
        (0..length).map(|_| self.byte()).collect()
    }

    pub fn is_left(&self) -> bool {
        !self.0.is_empty()
    }
}

/// A protocol, and what is needed to write its frames.
pub struct MadeUp {
    pub plan: RpcProtocol,
    magic: Vec<u8>,
    little: bool,
    /// A size of the whole frame: bytes it is written in, and what it says too little.
    size: Option<(u8, i64)>,
    id: u8,
    pad: u8,
    /// Bytes of the lengths of name, map and body.
    lengths: [u8; 3],
    check: Option<Check>,
}

#[derive(Clone, Copy)]
struct Check {
    algorithm: RpcAlgorithm,
    width: u8,
    /// In front of what it covers, not behind the body.
    leads: bool,
    /// It covers only the parts.
    parts_only: bool,
}

impl MadeUp {
    pub fn new(dice: &mut Dice<'_>) -> Self {
        let magic = (0..=dice.below(3)).map(|_| dice.byte()).collect();
        let size = (dice.below(3) == 0).then(|| (2 + dice.below(3), i64::from(dice.below(5)) - 2));
        let check = (dice.below(2) == 0).then(|| {
            let (algorithm, width) = match dice.below(5) {
                0 => (RpcAlgorithm::Crc32, 4),
                1 => (RpcAlgorithm::Crc32c, 4),
                2 => (RpcAlgorithm::Adler32, 4),
                3 => (RpcAlgorithm::Sum, 1 + dice.below(8)),
                _ => (RpcAlgorithm::Xor, 1 + dice.below(2)),
            };
            Check { algorithm, width, leads: dice.below(3) == 0, parts_only: dice.below(2) == 0 }
        });
        let mut made = Self {
            plan: empty_plan(),
            magic,
            little: dice.below(2) == 0,
            size,
            id: 1 + dice.below(8),
            pad: dice.below(4),
            lengths: [1 + dice.below(2), 1 + dice.below(4), 1 + dice.below(4)],
            check,
        };
        let headers = match dice.below(3) {
            0 => None,
            1 => Some(RpcHeaders::Text {
                between: "=".into(),
                behind: ";".into(),
                last_wins: dice.below(2) == 0,
            }),
            _ => Some(RpcHeaders::Pairs {
                count_bytes: dice.below(3),
                name_bytes: 1 + dice.below(4),
                value_bytes: 1 + dice.below(4),
                little_endian: dice.below(2) == 0,
                nulls: dice.below(2) == 0,
                last_wins: dice.below(2) == 0,
            }),
        };
        if made.check.is_none_or(|check| !check.leads) {
            made.plan.limits.frame = 1 << 20;
        }
        let looks = dice.below(3) == 0;
        made.describe(headers, looks, dice.below(2) == 0);
        made
    }

    fn describe(&mut self, headers: Option<RpcHeaders>, looks: bool, pins: bool) {
        self.plan.shapes = [("asks", false), ("answers", true)]
            .map(|(name, answers)| self.shape(name, answers, headers.is_some()))
            .into();
        for (kind, frame) in [
            (REQUEST, RpcKind::Request),
            (RESPONSE, RpcKind::Response),
            (ONE_WAY, RpcKind::OneWay),
            (HEARTBEAT, RpcKind::Heartbeat),
            (HEARTBEAT_ANSWER, RpcKind::HeartbeatAnswer),
            (GO_AWAY, RpcKind::GoAway),
        ] {
            let value = [&self.magic[..], &[kind]].concat();
            let pattern = RpcPattern { mask: vec![0xff; value.len()], value };
            self.plan.openings.push(RpcOpening { pattern, shape: u32::from(kind == RESPONSE), frame });
        }
        let source = |from| RpcSource { from, before: String::new(), after: String::new() };
        self.plan.service = vec![source(RpcOrigin::Item { field: field("name") })];
        self.plan.method = vec![source(RpcOrigin::Text { text: "call".into() })];
        if looks {
            self.plan.body = Some(RpcBody {
                dialect: RpcDialect::ByFirstByte,
                object: Vec::new(),
                values: 2,
                attachments_behind: Some(1),
            });
            self.plan.method.insert(0, source(RpcOrigin::Body { number: 0 }));
        }
        if headers.is_some() {
            self.plan.service.insert(0, source(RpcOrigin::Header { name: "to".into() }));
        }
        self.plan.headers = headers;
        self.plan.deadline = vec![source(RpcOrigin::Item { field: field("patience") })];
        if pins {
            self.plan.pinned = vec!["pad".into()];
        }
        self.plan.error_replies = vec![template(1, RESPONSE, &["pad"])];
        self.plan.heartbeat_answers = vec![template(0, HEARTBEAT_ANSWER, &["pad", "name"])];
        self.plan.heartbeat = Some(RpcHeartbeat {
            templates: vec![template(0, HEARTBEAT, &["pad"])],
            interval: 1_000,
            longest_interval: 4_000,
            timeout: 100,
            misses: 2,
        });
    }

    fn shape(&self, name: &str, answers: bool, has_map: bool) -> RpcShape {
        let number = |name: &str, bytes| self.item(name, RpcSize::Number { bytes });
        let told = |by: &str| RpcSize::Told { by: length(by, 0) };
        let mut items =
            vec![self.item("magic", RpcSize::Magic { value: self.magic.clone() }), number("kind", 1)];
        if let Some((width, _)) = self.size {
            items.push(number("size", width));
        }
        items.push(number("id", self.id));
        if self.pad > 0 {
            items.push(number("pad", self.pad));
        }
        items.push(if answers { number("status", 1) } else { number("patience", 2) });
        for (name, width) in ["nameLength", "mapLength", "bodyLength"].iter().zip(self.lengths) {
            if *name != "bodyLength" || self.size.is_none() {
                items.push(number(name, width));
            }
        }
        if let Some(check) = self.check.filter(|check| check.leads) {
            items.push(number("check", check.width));
        }
        items.push(self.item("name", told("nameLength")));
        items.push(self.item("map", told("mapLength")));
        let body = if self.size.is_some() { RpcSize::Rest {} } else { told("bodyLength") };
        items.push(self.item("body", body));
        if let Some(check) = self.check.filter(|check| !check.leads) {
            items.push(number("check", check.width));
        }
        let checksum = self.check.map(|check| RpcChecksum {
            item: "check".into(),
            algorithm: check.algorithm,
            first: if check.parts_only || check.leads { "name" } else { "magic" }.into(),
            last: "body".into(),
            present: Vec::new(),
            verify: true,
        });
        RpcShape {
            name: name.into(),
            items,
            size: self.size.map(|(_, plus)| length("size", plus)),
            id: "id".into(),
            status: answers.then(|| field("status")),
            headers: has_map.then(|| "map".into()),
            body: "body".into(),
            checksum,
            look_into_body: Vec::new(),
        }
    }

    fn item(&self, name: &str, size: RpcSize) -> RpcItem {
        RpcItem { name: name.into(), size, little_endian: self.little, signed: false, bits: Vec::new() }
    }

    /// A frame that is right in every way.
    pub fn frame(&self, dice: &mut Dice<'_>) -> Vec<u8> {
        let kind = [REQUEST, REQUEST, RESPONSE, RESPONSE, ONE_WAY, HEARTBEAT, HEARTBEAT_ANSWER, GO_AWAY]
            [usize::from(dice.below(8))];
        let id = u64::from(dice.below(9));
        let name: Vec<u8> = dice.bytes(12).iter().map(|byte| b'a' + byte % 26).collect();
        let is_small = matches!(kind, HEARTBEAT | HEARTBEAT_ANSWER | GO_AWAY);
        let (map, mut body) = (self.map(dice), dice.bytes(60));
        // Some are larger than what is taken whole, where lengths allow it.
        let room = self.lengths[2].min(self.size.map_or(4, |(width, _)| width)) >= 3;
        if room && !is_small && self.check.is_none_or(|check| !check.leads) && dice.below(16) == 0 {
            body.resize(60_000 + 100 * usize::from(dice.byte()), dice.byte());
        }
        let mut frame = self.magic.clone();
        frame.push(kind);
        let size_at = frame.len();
        if let Some((width, _)) = self.size {
            self.put(0, width, &mut frame);
        }
        self.put(id, self.id, &mut frame);
        (0..self.pad).for_each(|_| frame.push(dice.byte()));
        if kind == RESPONSE {
            frame.push(dice.below(3));
        } else {
            self.put(u64::from(dice.byte()), 2, &mut frame);
        }
        self.put(name.len() as u64, self.lengths[0], &mut frame);
        self.put(map.len() as u64, self.lengths[1], &mut frame);
        if self.size.is_none() {
            body.truncate(self.most(self.lengths[2]));
            self.put(body.len() as u64, self.lengths[2], &mut frame);
        }
        let check_at = frame.len();
        if let Some(check) = self.check.filter(|check| check.leads) {
            self.put(0, check.width, &mut frame);
        }
        let parts_at = frame.len();
        frame.extend(name);
        frame.extend(map);
        frame.extend(body);
        if let Some((width, plus)) = self.size {
            let tail = self.check.filter(|check| !check.leads).map_or(0, |check| i64::from(check.width));
            let told = (frame.len() as i64 + tail - plus) as u64;
            self.write(told, width, &mut frame[size_at..]);
        }
        if let Some(check) = self.check {
            let from = if check.leads || check.parts_only { parts_at } else { 0 };
            let sum = checksum(check.algorithm, &frame[from..]);
            if check.leads {
                self.write(sum, check.width, &mut frame[check_at..]);
            } else {
                self.put(sum, check.width, &mut frame);
            }
        }
        frame
    }

    fn map(&self, dice: &mut Dice<'_>) -> Vec<u8> {
        let mut map = Vec::new();
        let pairs = dice.below(4);
        match &self.plan.headers {
            None => {}
            Some(RpcHeaders::Text { .. }) => {
                for _ in 0..pairs {
                    map.extend([b'a' + dice.below(4), b'=', b'0' + dice.below(10), b';']);
                }
            }
            Some(RpcHeaders::Pairs {
                count_bytes, name_bytes, value_bytes, little_endian, nulls, ..
            }) => {
                put(u64::from(pairs), *count_bytes, *little_endian, &mut map);
                for _ in 0..pairs {
                    for bytes in [*name_bytes, *value_bytes] {
                        if *nulls && dice.below(8) == 0 {
                            put(u64::MAX, bytes, *little_endian, &mut map);
                            continue;
                        }
                        let text = [b't', b'o', b'A' + dice.below(4)];
                        let text = &text[..usize::from(1 + dice.below(3))];
                        put(text.len() as u64, bytes, *little_endian, &mut map);
                        map.extend(text);
                    }
                }
                if pairs == 0 && dice.below(2) == 0 {
                    map.clear();
                }
            }
        }
        map
    }

    fn most(&self, width: u8) -> usize {
        (1_usize << (8 * u32::from(width.min(4)))) - 1
    }

    fn put(&self, value: u64, width: u8, to: &mut Vec<u8>) {
        put(value, width, self.little, to);
    }

    fn write(&self, value: u64, width: u8, to: &mut [u8]) {
        let mut bytes = Vec::new();
        self.put(value, width, &mut bytes);
        to[..bytes.len()].copy_from_slice(&bytes);
    }
}

fn put(value: u64, width: u8, little: bool, to: &mut Vec<u8>) {
    let start = to.len();
    to.extend_from_slice(&value.to_be_bytes()[8 - usize::from(width)..]);
    if little {
        to[start..].reverse();
    }
}

fn field(name: &str) -> RpcField {
    RpcField { item: name.into(), at: 0, count: 0 }
}

fn length(item: &str, plus: i64) -> RpcLength {
    RpcLength { item: item.into(), times: 1, plus }
}

fn template(shape: u32, kind: u8, copies: &[&str]) -> RpcTemplate {
    RpcTemplate {
        like: 0,
        shape,
        values: vec![RpcValue { field: field("kind"), value: i64::from(kind) }],
        copies: copies.iter().map(|name| (*name).into()).collect(),
        parts: Vec::new(),
    }
}

fn empty_plan() -> RpcProtocol {
    RpcProtocol {
        name: "madeup".into(),
        openings: Vec::new(),
        shapes: Vec::new(),
        detection: Vec::new(),
        headers: None,
        service: Vec::new(),
        method: Vec::new(),
        deadline: Vec::new(),
        attributes: Vec::new(),
        trace: None,
        body: None,
        statuses: vec![RpcStatus { status: 0, http: 200 }, RpcStatus { status: 1, http: 503 }],
        other_status: 500,
        replies: vec![RpcStatus { status: 1, http: 503 }],
        other_reply: 2,
        error_replies: Vec::new(),
        heartbeat: None,
        heartbeat_answers: Vec::new(),
        go_away: Vec::new(),
        pinned: Vec::new(),
        limits: RpcLimits { frame: 1 << 16, head: 1 << 14, headers: 64, calls: 1_000, provider_calls: 1_000 },
    }
}

/// As their standards define them, bit by bit.
fn checksum(algorithm: RpcAlgorithm, bytes: &[u8]) -> u64 {
    let reflected = |polynomial: u32| {
        !bytes.iter().fold(!0_u32, |word, byte| {
            (0..8)
                .fold(word ^ u32::from(*byte), |word, _| word >> 1 ^ (polynomial & (word & 1).wrapping_neg()))
        })
    };
    match algorithm {
        RpcAlgorithm::Crc32 => u64::from(reflected(0xedb8_8320)),
        RpcAlgorithm::Crc32c => u64::from(reflected(0x82f6_3b78)),
        RpcAlgorithm::Adler32 => {
            let (low, high) = bytes.iter().fold((1_u64, 0_u64), |(low, high), byte| {
                let low = (low + u64::from(*byte)) % 65_521;
                (low, (high + low) % 65_521)
            });
            high << 16 | low
        }
        RpcAlgorithm::Sum => bytes.iter().map(|byte| u64::from(*byte)).sum(),
        RpcAlgorithm::Xor => u64::from(bytes.iter().fold(0, |all, byte| all ^ byte)),
    }
}
