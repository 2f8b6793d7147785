//! From a message to raw bytes both ways: after 101 (HTTP/1), or 2xx to CONNECT.

use super::direction::Direction;
use super::exchange::Exchange;
use super::port::Port;
use super::shared::Turn;
use super::timeouts::Limit;
use crate::codec::contract::Command;
use crate::message::{NameId, Protocol, ResponseHead};
use crate::telemetry::HttpCounter;

impl Exchange {
    /// 101, or 2xx of an HTTP/2 endpoint, opens the tunnel; anything else is an ordinary answer.
    #[cold]
    pub fn accept_upgrade(&mut self, head: &mut ResponseHead) {
        let by_http2 = head.protocol == Protocol::Http2 && (200..300).contains(&head.status);
        if head.status != 101 && !by_http2 {
            return;
        }
        self.is_tunnel = true;
        // A client of HTTP/1 knows 101, one of HTTP/2 knows 200 (RFC 8441).
        head.status = if self.request.protocol == Protocol::Http2 { 200 } else { 101 };
        if head.status == 101
            && !head.headers.contains_id(NameId::UPGRADE)
            && let Some(upgrade) = self.request.upgrade()
        {
            head.headers.push_id(NameId::UPGRADE, upgrade);
        }
    }

    /// Both sides speak raw bytes from now on.
    pub fn open_tunnel<P: Port>(&mut self, turn: &mut Turn<'_, P>) -> bool {
        let Some((connection, stream)) = self.attempt.as_ref().and_then(|attempt| attempt.open_stream())
        else {
            return false;
        };
        if let Some(http) = &self.site.http {
            http.counters.increment(HttpCounter::CxUpgradesTotal);
        }
        // The request ended with its head or body; now its direction is open again.
        let received = self.up.received;
        self.up = Direction::open();
        self.up.received = received;
        self.deadlines.set(Limit::Route, None);
        self.deadlines.set(Limit::Request, None);
        self.origin.become_tunnel(turn.port).is_ok()
            && turn.port.perform(connection, Command::BecomeTunnel { stream }).is_ok()
    }
}
