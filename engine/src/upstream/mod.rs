//! Endpoints and how requests get to them: balancing, pools, breakers, outlier ejection, health, retries. Decisions only.
//!
//! In: compiled clusters and what became of attempts. Out: an endpoint, a connection to use or to dial, a permit or a
//! refusal, whether to try again. Holds keys of connections, never sockets; time and randomness are arguments.
//!
//! A `Cluster` is shared by all workers; its `Shared` part (endpoints by address, breakers, ejections) outlives changes of
//! its policy. What one worker holds of a cluster (cursor, permits, pools, counters) is its `Seat`, made at first use.

mod address;
mod balance;
mod breaker;
mod budget;
mod cluster;
mod destination;
mod endpoint;
mod health;
mod intern;
mod names;
mod outlier;
mod pool;
pub mod retry;
mod seat;
mod set;
#[cfg(test)]
pub(crate) mod testing;

pub use address::Remote;
pub use balance::{Cursor, PickContext};
pub use breaker::{Breakers, Gate, Lease, Permit, Priority, Resource};
pub use cluster::{ClientTls, Cluster, Policy, SocketMatch, Source};
pub use endpoint::{Endpoint, EndpointId, InFlight, Spec};
pub use health::{Checker, HealthChange};
pub use intern::Interner;
pub use names::{NameAnswer, Names};
pub use outlier::{Ejection, Report};
pub use pool::{DialOrder, Failure, Leased, PoolId, PoolKey, PoolProtocol, Pools, RpcKey, Step, Wanted};
pub use retry::{Attempted, RetryDecision, RetryHistory};
pub use seat::{Counts, Seat, Seats};
pub use set::{EndpointSet, LocalitySpec, Membership, SetLocality};
