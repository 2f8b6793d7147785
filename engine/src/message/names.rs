//! Well-known header names as ids, so that routing and filters compare integers.

/// Id of a well-known header name; `NameId::OTHER` for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameId(pub u8);

impl NameId {
    pub const OTHER: Self = Self(0);
}

/// Some of the names; every name that is not well known counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NameSet([u64; 2]);

impl NameSet {
    pub const fn of(names: &[NameId]) -> Self {
        let mut rest = names;
        let mut set = Self([0; 2]);
        while let [first, tail @ ..] = rest {
            set.insert(*first);
            rest = tail;
        }
        set
    }

    const fn half(name: NameId) -> usize {
        (name.0 / 64 % 2) as usize
    }

    pub const fn insert(&mut self, name: NameId) {
        self.0[Self::half(name)] |= 1 << (name.0 % 64);
    }

    /// The well-known names that one of this length and last letter may be, small or large; and that it may be none.
    #[inline(always)]
    pub fn insert_like(&mut self, length: usize, last: u8) {
        let like = &LIKE[class(length, last)].0;
        self.0[0] |= like[0];
        self.0[1] |= like[1];
    }

    pub const fn insert_all(&mut self, names: Self) {
        self.0[0] |= names.0[0];
        self.0[1] |= names.0[1];
    }

    pub const fn remove(&mut self, names: Self) {
        self.0[0] &= !names.0[0];
        self.0[1] &= !names.0[1];
    }

    pub const fn add(&mut self, names: Self) {
        self.0[0] |= names.0[0];
        self.0[1] |= names.0[1];
    }

    pub const fn contains(self, name: NameId) -> bool {
        self.0[Self::half(name)] >> (name.0 % 64) & 1 == 1
    }

    pub const fn meets(self, other: Self) -> bool {
        (self.0[0] & other.0[0]) | (self.0[1] & other.0[1]) != 0
    }
}

macro_rules! well_known {
    ($($constant:ident = $text:literal),+ $(,)?) => {
        /// Numbers the constants; id 0 is every name that is not well known.
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, dead_code)]
        #[repr(u8)]
        enum Order { OTHER_NAME, $($constant),+ }
        impl NameId { $(pub const $constant: Self = Self(Order::$constant as u8);)+ }
        const TEXTS: &[&str] = &["", $($text),+];
    };
}

well_known! {
    ACCEPT = "accept", ACCEPT_ENCODING = "accept-encoding", ACCEPT_LANGUAGE = "accept-language", AUTHORIZATION = "authorization",
    CACHE_CONTROL = "cache-control", CONNECTION = "connection", CONTENT_ENCODING = "content-encoding", CONTENT_LENGTH = "content-length",
    CONTENT_TYPE = "content-type", COOKIE = "cookie", DATE = "date", ETAG = "etag", EXPECT = "expect", HOST = "host",
    IF_MODIFIED_SINCE = "if-modified-since", IF_NONE_MATCH = "if-none-match", KEEP_ALIVE = "keep-alive", LAST_MODIFIED = "last-modified",
    LOCATION = "location", ORIGIN = "origin", PROXY_AUTHENTICATE = "proxy-authenticate", PROXY_AUTHORIZATION = "proxy-authorization",
    PROXY_CONNECTION = "proxy-connection", RANGE = "range", REFERER = "referer", RETRY_AFTER = "retry-after", SERVER = "server",
    SET_COOKIE = "set-cookie", TE = "te", TRAILER = "trailer", TRANSFER_ENCODING = "transfer-encoding", UPGRADE = "upgrade",
    USER_AGENT = "user-agent", VARY = "vary", VIA = "via", WWW_AUTHENTICATE = "www-authenticate", HTTP2_SETTINGS = "http2-settings",
    GRPC_STATUS = "grpc-status", GRPC_MESSAGE = "grpc-message", GRPC_TIMEOUT = "grpc-timeout", GRPC_ENCODING = "grpc-encoding",
    GRPC_ACCEPT_ENCODING = "grpc-accept-encoding", X_FORWARDED_FOR = "x-forwarded-for", X_FORWARDED_PROTO = "x-forwarded-proto",
    X_FORWARDED_HOST = "x-forwarded-host", X_FORWARDED_PORT = "x-forwarded-port", X_FORWARDED_CLIENT_CERT = "x-forwarded-client-cert",
    X_REQUEST_ID = "x-request-id", TRACEPARENT = "traceparent", TRACESTATE = "tracestate", BAGGAGE = "baggage",
    X_B3_TRACEID = "x-b3-traceid", X_B3_SPANID = "x-b3-spanid", X_B3_PARENTSPANID = "x-b3-parentspanid", X_B3_SAMPLED = "x-b3-sampled",
    X_ENVOY_ATTEMPT_COUNT = "x-envoy-attempt-count", X_ENVOY_DECORATOR_OPERATION = "x-envoy-decorator-operation",
    X_ENVOY_EXPECTED_RQ_TIMEOUT_MS = "x-envoy-expected-rq-timeout-ms", X_ENVOY_EXTERNAL_ADDRESS = "x-envoy-external-address",
    X_ENVOY_FORCE_TRACE = "x-envoy-force-trace", X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT = "x-envoy-hedge-on-per-try-timeout",
    X_ENVOY_INTERNAL = "x-envoy-internal", X_ENVOY_IP_TAGS = "x-envoy-ip-tags", X_ENVOY_IS_TIMEOUT_RETRY = "x-envoy-is-timeout-retry",
    X_ENVOY_LOCAL_OVERLOADED = "x-envoy-local-overloaded", X_ENVOY_MAX_RETRIES = "x-envoy-max-retries",
    X_ENVOY_ORIGINAL_DST_HOST = "x-envoy-original-dst-host", X_ENVOY_ORIGINAL_PATH = "x-envoy-original-path", X_ENVOY_OVERLOADED = "x-envoy-overloaded",
    X_ENVOY_PEER_METADATA = "x-envoy-peer-metadata", X_ENVOY_PEER_METADATA_ID = "x-envoy-peer-metadata-id",
    X_ENVOY_RATELIMITED = "x-envoy-ratelimited", X_ENVOY_RETRIABLE_HEADER_NAMES = "x-envoy-retriable-header-names",
    X_ENVOY_RETRIABLE_STATUS_CODES = "x-envoy-retriable-status-codes", X_ENVOY_RETRY_GRPC_ON = "x-envoy-retry-grpc-on",
    X_ENVOY_RETRY_ON = "x-envoy-retry-on", X_ENVOY_UPSTREAM_ALT_STAT_NAME = "x-envoy-upstream-alt-stat-name",
    X_ENVOY_UPSTREAM_CANARY = "x-envoy-upstream-canary", X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS = "x-envoy-upstream-rq-per-try-timeout-ms",
    X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE = "x-envoy-upstream-rq-timeout-alt-response",
    X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS = "x-envoy-upstream-rq-timeout-ms", X_ENVOY_UPSTREAM_SERVICE_TIME = "x-envoy-upstream-service-time",
    X_ENVOY_UPSTREAM_STREAM_DURATION_MS = "x-envoy-upstream-stream-duration-ms", MAINSTAY_ORIG_PROTO = "mainstay-orig-proto",
    MAINSTAY_PEER = "mainstay-peer", MAINSTAY_UNREACHED = "mainstay-unreached", X_ENVOY_ORIGINAL_HOST = "x-envoy-original-host",
}

const _: () = assert!(TEXTS.len() <= 128, "a NameSet has 128 places");

/// Places of `IDS`: enough that a seed without collisions is found at once.
const PLACES: usize = 1_024;
/// Makes no two of the names meet in one place.
const SEED: u32 = find_seed();
/// The only name that may be meant, by place.
static IDS: [u8; PLACES] = match places(SEED) {
    Some(ids) => ids,
    None => panic!("two names look alike: choose other letters"),
};

/// Length and three letters tell the names apart.
const fn place(name: &[u8], seed: u32) -> usize {
    let length = name.len();
    if length == 0 {
        return 0;
    }
    let letters =
        name[length / 2] as u32 | (name[length - 1] as u32) << 8 | (name[length * 3 / 4] as u32) << 16;
    let mixed = (letters ^ (length as u32) << 24).wrapping_mul(seed);
    (mixed >> (u32::BITS - PLACES.trailing_zeros())) as usize
}

const fn places(seed: u32) -> Option<[u8; PLACES]> {
    let mut ids = [0; PLACES];
    let mut id = 1;
    while id < TEXTS.len() {
        let at = place(TEXTS[id].as_bytes(), seed);
        if ids[at] != 0 {
            return None;
        }
        ids[at] = id as u8;
        id += 1;
    }
    Some(ids)
}

const fn find_seed() -> u32 {
    let (mut seed, mut tries): (u32, u32) = (0x9e37_79b1, 0);
    while tries < 100 && places(seed).is_none() {
        seed = seed.wrapping_mul(0x2c92_77b5).wrapping_add(0xac56_4b05) | 1;
        tries += 1;
    }
    seed
}

/// Kinds of names, by length and last letter, small or large.
const CLASSES: usize = 256;

#[inline(always)]
const fn class(length: usize, last: u8) -> usize {
    ((last as usize & 31) << 3 ^ length) % CLASSES
}

/// Well-known names by their class; `OTHER` is in each.
static LIKE: [NameSet; CLASSES] = {
    let mut like = [NameSet::of(&[NameId::OTHER]); CLASSES];
    let mut id = 1;
    while id < TEXTS.len() {
        let text = TEXTS[id].as_bytes();
        like[class(text.len(), text[text.len() - 1])].insert(NameId(id as u8));
        id += 1;
    }
    like
};

impl NameId {
    /// The id of a lower-case name.
    pub fn of(name: &[u8]) -> Self {
        Self::hashed(name).0
    }

    /// As `of`, with a hash of the name, below 1,024.
    #[inline]
    pub fn hashed(name: &[u8]) -> (Self, usize) {
        let place = place(name, SEED);
        let id = Self(IDS.get(place).copied().unwrap_or(0));
        (if id != Self::OTHER && id.text().as_bytes() == name { id } else { Self::OTHER }, place)
    }

    /// The text of a well-known name, empty for `OTHER`.
    pub fn text(self) -> &'static str {
        TEXTS.get(self.0 as usize).copied().unwrap_or("")
    }
}

/// A lower-case header name prepared once (configuration) for comparison with many blocks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    pub id: NameId,
    text: Box<[u8]>,
}

impl Name {
    pub fn new(text: &str) -> Self {
        let lower = text.to_ascii_lowercase().into_bytes();
        Self { id: NameId::of(&lower), text: lower.into_boxed_slice() }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

impl From<NameId> for Name {
    fn from(id: NameId) -> Self {
        Self { id, text: id.text().as_bytes().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_well_known_name_finds_its_id() {
        for (id, text) in TEXTS.iter().enumerate().skip(1) {
            assert_eq!(NameId::of(text.as_bytes()), NameId(id as u8), "{text}");
        }
        assert_eq!(NameId::of(b"x-mine"), NameId::OTHER);
        assert_eq!(NameId::of(b""), NameId::OTHER);
    }
}
