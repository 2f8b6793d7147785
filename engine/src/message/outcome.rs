//! How an exchange ended: one vocabulary for retries, outlier detection, metrics and logs.

/// Response flags, as Envoy's `%RESPONSE_FLAGS%` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ResponseFlags(pub u32);

macro_rules! flags {
    ($($name:ident = $bit:literal, $text:literal, $meaning:literal);+ $(;)?) => {
        impl ResponseFlags {
            $(#[doc = $meaning] pub const $name: Self = Self(1 << $bit);)+
            /// Every flag with its short text, in the order of the bits.
            pub const ALL: &'static [(Self, &'static str, &'static str)] = &[$((Self::$name, $text, $meaning)),+];
        }
    };
}

flags! {
    NO_HEALTHY_UPSTREAM = 0, "UH", "No healthy endpoint in the cluster";
    UPSTREAM_CONNECTION_FAILURE = 1, "UF", "Connecting to the endpoint failed";
    UPSTREAM_OVERFLOW = 2, "UO", "A circuit breaker is open";
    NO_ROUTE = 3, "NR", "No route or no filter chain matched";
    UPSTREAM_RETRY_LIMIT = 4, "URX", "Retries or connect attempts are exhausted";
    NO_CLUSTER = 5, "NC", "The route names a cluster that does not exist";
    DURATION_TIMEOUT = 6, "DT", "Maximum duration reached";
    DOWNSTREAM_TERMINATION = 7, "DC", "The client went away";
    FAILED_LOCAL_HEALTH_CHECK = 8, "LH", "The local health check failed";
    UPSTREAM_REQUEST_TIMEOUT = 9, "UT", "The request timed out";
    LOCAL_RESET = 10, "LR", "The connection was reset from here";
    UPSTREAM_REMOTE_RESET = 11, "UR", "The endpoint reset the stream";
    UPSTREAM_TERMINATION = 12, "UC", "The endpoint closed the connection";
    DELAY_INJECTED = 13, "DI", "A delay was injected";
    FAULT_INJECTED = 14, "FI", "A fault was injected";
    RATE_LIMITED = 15, "RL", "Rate limited";
    UNAUTHORIZED_EXTERNAL = 16, "UAEX", "Denied by external authorisation";
    STREAM_IDLE_TIMEOUT = 17, "SI", "Stream idle timeout";
    INVALID_REQUEST = 18, "IH", "Malformed or refused header fields";
    DOWNSTREAM_PROTOCOL_ERROR = 19, "DPE", "The client violated the protocol";
    UPSTREAM_PROTOCOL_ERROR = 20, "UPE", "The endpoint violated the protocol";
    UPSTREAM_MAX_STREAM_DURATION = 21, "UMSDR", "Maximum stream duration reached";
    OVERLOAD_MANAGER = 22, "OM", "Refused under overload";
    DOWNSTREAM_REMOTE_RESET = 23, "DR", "The client reset the stream";
    DRAINING = 24, "MD", "Cut at the end of draining";
}

impl ResponseFlags {
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// `UF,URX`, or `-` if none is set.
    pub fn text(self) -> String {
        let set: Vec<_> =
            Self::ALL.iter().filter(|(flag, _, _)| self.contains(*flag)).map(|(_, text, _)| *text).collect();
        if set.is_empty() { "-".to_owned() } else { set.join(",") }
    }
}

/// Why a stream ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResetReason {
    /// The peer cancelled (RST_STREAM CANCEL, FIN before the end).
    Cancelled,
    /// The peer refused before processing (REFUSED_STREAM, GOAWAY above the last id).
    Refused,
    /// The connection ended under the stream.
    ConnectionClosed,
    /// Bytes that the protocol forbids.
    ProtocolError,
    /// The peer asks to be left alone for a while (ENHANCE_YOUR_CALM).
    Overloaded,
    /// Any other error code of the peer.
    Failed,
    /// A time limit here.
    Timeout,
    /// No error: the response is complete, the rest of the request is not wanted.
    NoError,
}

/// How an attempt or an exchange ended, in terms that hold for HTTP, gRPC and RPC alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Success,
    /// The caller's fault (4xx, INVALID_ARGUMENT …).
    CallerError,
    /// The server's fault (5xx, INTERNAL …).
    ServerError,
    Timeout,
    Overloaded,
    /// Surely not processed.
    Refused,
    ConnectFailure,
    Reset(ResetReason),
}
