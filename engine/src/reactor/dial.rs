//! Connections that go out: the kernel connects, TLS shakes hands, ALPN chooses the codec, `stream` is told.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::connection::{Dialing, Open, Phase, Secure, Transport};
use super::driver::Driver;
use super::log::{Level, Room, Value};
use super::worker::Worker;
use crate::message::{Key, Peer};
use crate::stream::{DialError, DialErrorKind};
use crate::tls;

impl<D: Driver> Worker<D> {
    /// The socket has become writable or has failed: the connect is decided.
    pub(super) fn finish_connect(&mut self, key: Key) -> ControlFlow<()> {
        let Some(connection) = self.board.connections.get_mut(key) else { return ControlFlow::Break(()) };
        let Some(socket) = &connection.socket else { return ControlFlow::Break(()) };
        if !connection.writable && !connection.failed {
            return ControlFlow::Break(());
        }
        match self.board.driver.dialed(socket) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ControlFlow::Break(()),
            Err(error) => {
                let kind = DialErrorKind::Connect;
                self.fail_dial(key, DialError { kind, what: describe(&error) });
                return ControlFlow::Break(());
            }
        }
        let local = self.board.driver.local_address(socket);
        connection.peer = Arc::new(Peer { local, ..Peer::clone(&connection.peer) });
        if let Phase::Connecting(dialing) = std::mem::replace(&mut connection.phase, Phase::Lingering) {
            self.connected(key, dialing);
        }
        ControlFlow::Continue(())
    }

    fn connected(&mut self, key: Key, dialing: Box<Dialing>) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        let Some(tls) = &dialing.tls else {
            connection.phase = Phase::Securing(dialing);
            return self.open_dialed(key, None);
        };
        let session =
            tls::Transport::client(&tls.context, tls.host.as_deref(), tls.application_protocols.as_deref());
        connection.phase = Phase::Securing(dialing);
        match session {
            Ok(session) => {
                connection.transport = Transport::Tls(Secure::new(session));
                // Its first call yields the ClientHello.
                self.advance(key);
            }
            Err(fault) => {
                self.fail_dial(key, DialError { kind: DialErrorKind::Tls(fault.kind), what: fault.what })
            }
        }
    }

    /// The handshake is over.
    pub(super) fn secured(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        let (Phase::Securing(dialing), Transport::Tls(secure)) = (&connection.phase, &connection.transport)
        else {
            return;
        };
        let verified = dialing.tls.as_ref().is_some_and(|tls| tls.context.verifies);
        let mut peer = Peer::clone(&connection.peer);
        secure.session.describe_peer(&mut peer, verified);
        peer.is_resumed = secure.session.is_resumed();
        let protocol = peer.application_protocol.clone();
        connection.peer = Arc::new(peer);
        self.open_dialed(key, protocol.as_deref());
    }

    fn open_dialed(&mut self, key: Key, alpn: Option<&str>) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        let Phase::Securing(dialing) = std::mem::replace(&mut connection.phase, Phase::Lingering) else {
            return;
        };
        let codec = dialing.speak.codec(alpn);
        connection.phase = Phase::Open(Open { codec, binding: dialing.binding });
        connection.deadline = None;
        self.streams.dialed(&mut self.board, key, Ok(()));
        // A codec that speaks first (HTTP/2) does so when it is asked.
        self.advance(key);
    }

    /// `stream` is told while the slot is still there; then it goes.
    #[cold]
    pub(super) fn fail_dial(&mut self, key: Key, error: DialError) {
        if let Some(connection) = self.board.connections.get(key) {
            let room = if matches!(error.kind, DialErrorKind::Tls(_)) { Room::Tls } else { Room::Reactor };
            self.board.shared.log.say(room, Level::Debug, || {
                let peer = connection.peer.remote.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
                format!("an endpoint could not be reached peer={peer} why={}", Value(&error.what))
            });
            self.streams.dialed(&mut self.board, key, Err(error));
            self.board.remove(key);
        }
    }
}

/// The kernel's words without the number, as logs want them.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}
