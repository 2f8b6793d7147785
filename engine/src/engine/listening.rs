//! Sockets of listeners follow the configuration: bound where it is applied, so that a taken port has a reason at once.
//!
//! A listener that stays at its address keeps its socket, whatever else of it changes; one whose new address cannot be
//! bound keeps the old one. `Refused` and `ListenerBound` events tell; an address that was taken is tried again with each
//! change of the configuration, and whenever its listener is handed over again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::threads::Handle;
use crate::plan::{Address, Event, Kind};
use crate::reactor::{Door, Letter, Shared, sys};
use crate::snapshot::{Listener, Snapshot};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

#[derive(Debug)]
struct Bound {
    plan: Address,
    transparent: bool,
    text: String,
    limit: Arc<AtomicU32>,
}

/// What is bound, by listener.
#[derive(Debug, Default)]
pub(super) struct Listening(BTreeMap<Arc<str>, Bound>);

impl Listening {
    /// Binds what is new, closes what is gone. `accepts`: the thread that gets the sockets.
    pub fn follow(&mut self, snapshot: &Snapshot, accepts: &Handle, shared: &Shared) {
        let gone: Vec<_> = self
            .0
            .keys()
            .filter(|name| !snapshot.listeners.get(*name).is_some_and(|listener| listener.bind))
            .cloned()
            .collect();
        for name in gone {
            accepts.inbox.post_always(Letter::Unlisten(Arc::clone(&name)));
            self.forget(&name);
        }
        for (name, listener) in snapshot.listeners.iter().filter(|(_, listener)| listener.bind) {
            let limit = listener.connection_limit.unwrap_or(u32::MAX);
            if let Some(bound) = self.0.get(name) {
                bound.limit.store(limit, Ordering::Relaxed);
                if bound.plan == listener.address && bound.transparent == listener.transparent {
                    continue;
                }
            }
            match bind(listener) {
                Ok((socket, text)) => {
                    accepts.inbox.post_always(Letter::Unlisten(Arc::clone(name)));
                    let limit = Arc::new(AtomicU32::new(limit));
                    let door = Door {
                        listener: Arc::clone(name),
                        stat_prefix: Arc::clone(&listener.stat_prefix),
                        socket,
                        limit: Arc::clone(&limit),
                    };
                    accepts.inbox.post_always(Letter::Listen(door));
                    shared.emit(Event::ListenerBound { name: name.to_string(), address: text.clone() });
                    let (plan, transparent) = (listener.address.clone(), listener.transparent);
                    self.0.insert(Arc::clone(name), Bound { plan, transparent, text, limit });
                }
                Err(error) => shared.emit(Event::Refused {
                    resource: Kind::Listener,
                    name: name.to_string(),
                    path: "address".to_owned(),
                    reason: format!("{} cannot be bound: {error}", listener.address),
                }),
            }
        }
    }

    pub fn list(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(name, bound)| (name.to_string(), bound.text.clone())).collect()
    }

    /// The sockets are closed with their thread; files of Unix sockets go here.
    pub fn clear(&mut self) {
        let names: Vec<_> = self.0.keys().cloned().collect();
        for name in names {
            self.forget(&name);
        }
    }

    fn forget(&mut self, name: &str) {
        if let Some(Bound { plan: Address::Pipe { path }, .. }) = self.0.remove(name)
            && !path.starts_with('@')
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The listening socket and its address as text, with the port that was chosen.
fn bind(listener: &Listener) -> io::Result<(OwnedFd, String)> {
    let target = match &listener.address {
        Address::Socket { ip, port } => sys::Target::Ip((*ip, *port).into()),
        Address::Pipe { path } => sys::Target::Unix(path.clone()),
        Address::Name { .. } => return Err(io::Error::other("a listener needs an address, not a name")),
    };
    let socket = sys::stream_socket(&target)?;
    match &target {
        sys::Target::Ip(address) => {
            sys::set_reuse_address(socket.as_fd())?;
            if address.is_ipv6() {
                sys::set_both_families(socket.as_fd());
            }
            if listener.transparent {
                sys::set_transparent(socket.as_fd(), address.is_ipv6())?;
            }
        }
        sys::Target::Unix(path) => remove_stale(path),
    }
    sys::bind(socket.as_fd(), &target)?;
    sys::listen(socket.as_fd(), BACKLOG)?;
    let text = match sys::local_address(socket.as_fd()) {
        Some(address) => address.to_string(),
        None => target.to_string(),
    };
    Ok((socket, text))
}

/// A socket file that nobody listens on is what a process that was killed has left.
fn remove_stale(path: &str) {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        let _ = std::fs::remove_file(path);
    }
}
