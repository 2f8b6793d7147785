//! The system calls that the standard library does not offer as we need them. The only unsafe code besides `py`.
//!
//! Each function is safe to call with any argument: descriptors are owned or borrowed types, lengths are those of slices,
//! and the kernel checks the rest. Sockets are made non-blocking and close-on-exec. Sending never raises SIGPIPE.
#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, socklen_t};

use crate::plan::TcpKeepalive;

/// Where a socket is bound or connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    Ip(SocketAddr),
    /// A leading `@` means the abstract namespace.
    Unix(String),
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => write!(formatter, "{address}"),
            Self::Unix(path) => formatter.write_str(path),
        }
    }
}

/// An address as the kernel takes it.
struct RawAddress {
    storage: libc::sockaddr_storage,
    length: socklen_t,
}

impl RawAddress {
    fn empty() -> Self {
        // SAFETY: all zeroes is a valid `sockaddr_storage` (family unspecified).
        Self { storage: unsafe { zeroed() }, length: size_of::<libc::sockaddr_storage>() as socklen_t }
    }

    fn new(target: &Target) -> io::Result<Self> {
        let mut raw = Self::empty();
        let storage = &raw mut raw.storage;
        match target {
            Target::Ip(SocketAddr::V4(address)) => {
                // SAFETY: `sockaddr_storage` is large and aligned enough for every address type.
                let inner = unsafe { &mut *storage.cast::<libc::sockaddr_in>() };
                inner.sin_family = libc::AF_INET as libc::sa_family_t;
                inner.sin_port = address.port().to_be();
                inner.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
                raw.length = size_of::<libc::sockaddr_in>() as socklen_t;
            }
            Target::Ip(SocketAddr::V6(address)) => {
                // SAFETY: as above.
                let inner = unsafe { &mut *storage.cast::<libc::sockaddr_in6>() };
                inner.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                inner.sin6_port = address.port().to_be();
                inner.sin6_flowinfo = address.flowinfo();
                inner.sin6_scope_id = address.scope_id();
                inner.sin6_addr.s6_addr = address.ip().octets();
                raw.length = size_of::<libc::sockaddr_in6>() as socklen_t;
            }
            Target::Unix(path) => raw.length = fill_unix(storage, path)?,
        }
        Ok(raw)
    }

    fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    fn to_ip(&self) -> Option<SocketAddr> {
        match c_int::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which type the kernel has written.
                let inner = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(inner.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(inner.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let inner = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let port = u16::from_be(inner.sin6_port);
                Some(match Ipv6Addr::from(inner.sin6_addr.s6_addr) {
                    // A client of IPv4 on a socket of both families is a client of IPv4 to every rule.
                    ip if ip.to_ipv4_mapped().is_some() => {
                        SocketAddr::new(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4), port)
                    }
                    ip => SocketAddrV6::new(ip, port, inner.sin6_flowinfo, inner.sin6_scope_id).into(),
                })
            }
            _ => None,
        }
    }
}

fn fill_unix(storage: *mut libc::sockaddr_storage, path: &str) -> io::Result<socklen_t> {
    // SAFETY: as in `RawAddress::new`.
    let inner = unsafe { &mut *storage.cast::<libc::sockaddr_un>() };
    inner.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // One byte stays for the final zero.
    if path.len() >= inner.sun_path.len() || path.is_empty() || path.contains('\0') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path of a Unix socket has 1 to 107 bytes",
        ));
    }
    for (slot, byte) in inner.sun_path.iter_mut().zip(path.bytes()) {
        *slot = byte as libc::c_char;
    }
    let offset = std::mem::offset_of!(libc::sockaddr_un, sun_path);
    let length = if path.starts_with('@') {
        inner.sun_path[0] = 0;
        offset + path.len()
    } else {
        offset + path.len() + 1
    };
    Ok(length as socklen_t)
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Repeats what a signal has interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn set(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live integer.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>() as socklen_t,
        )
    })
    .map(drop)
}

/// A stream socket for `target`'s family.
pub fn stream_socket(target: &Target) -> io::Result<OwnedFd> {
    let family = match target {
        Target::Ip(SocketAddr::V4(_)) => libc::AF_INET,
        Target::Ip(SocketAddr::V6(_)) => libc::AF_INET6,
        Target::Unix(_) => libc::AF_UNIX,
    };
    // SAFETY: no pointers; the descriptor is new and ours alone.
    unsafe {
        check(libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0))
            .map(|descriptor| OwnedFd::from_raw_fd(descriptor))
    }
}

pub fn bind(socket: BorrowedFd<'_>, target: &Target) -> io::Result<()> {
    let raw = RawAddress::new(target)?;
    // SAFETY: the address is alive during the call, its length is its own.
    check(unsafe { libc::bind(socket.as_raw_fd(), raw.pointer(), raw.length) }).map(drop)
}

pub fn listen(socket: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// Begins to connect; `Ok(true)`: connected at once, `Ok(false)`: under way.
pub fn connect(socket: BorrowedFd<'_>, target: &Target) -> io::Result<bool> {
    let raw = RawAddress::new(target)?;
    // SAFETY: the address is alive during the call, its length is its own.
    match check(unsafe { libc::connect(socket.as_raw_fd(), raw.pointer(), raw.length) }) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The next connection of a listening socket and its peer (`None` for Unix sockets).
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let mut raw = RawAddress::empty();
    let descriptor = retry(|| {
        raw.length = size_of::<libc::sockaddr_storage>() as socklen_t;
        // SAFETY: the storage is as long as `length` says.
        check(unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                (&raw mut raw.storage).cast(),
                &raw mut raw.length,
                libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            )
        })
    })?;
    // SAFETY: the descriptor is new and ours alone.
    Ok((unsafe { OwnedFd::from_raw_fd(descriptor) }, raw.to_ip()))
}

/// Our end of a socket, `None` for Unix sockets.
pub fn local_address(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    let mut raw = RawAddress::empty();
    // SAFETY: the storage is as long as `length` says.
    let result =
        unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut raw.storage).cast(), &raw mut raw.length) };
    check(result).ok()?;
    raw.to_ip()
}

/// Where a connection redirected by netfilter was meant to go (`SO_ORIGINAL_DST`).
pub fn original_destination(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    const IP6T_SO_ORIGINAL_DST: c_int = 80;
    let local = local_address(socket)?;
    let (level, name) = match local {
        SocketAddr::V4(_) => (libc::SOL_IP, libc::SO_ORIGINAL_DST),
        SocketAddr::V6(_) => (libc::SOL_IPV6, IP6T_SO_ORIGINAL_DST),
    };
    let mut raw = RawAddress::empty();
    // SAFETY: the storage is as long as `length` says.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut raw.storage).cast(), &raw mut raw.length)
    };
    check(result).ok()?;
    raw.to_ip()
}

/// The error that waits on a socket: how a connect ended.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut code: c_int = 0;
    let mut length = size_of::<c_int>() as socklen_t;
    // SAFETY: the pointer and the length are those of a live integer.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut code).cast(),
            &raw mut length,
        )
    })?;
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes within the slice.
    retry(|| {
        check_size(unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) })
    })
}

/// Sends the pieces as one write.
pub fn send(socket: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    if let [piece] = pieces {
        // SAFETY: the kernel reads within the slice.
        return retry(|| {
            check_size(unsafe {
                libc::send(socket.as_raw_fd(), piece.as_ptr().cast(), piece.len(), libc::MSG_NOSIGNAL)
            })
        });
    }
    // SAFETY: all zeroes is a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    // `IoSlice` has the layout of `iovec` by its contract; the kernel does not write to it.
    message.msg_iov = pieces.as_ptr().cast::<libc::iovec>().cast_mut();
    message.msg_iovlen = pieces.len();
    // SAFETY: the pieces are alive during the call.
    retry(|| check_size(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) }))
}

/// FIN: we have said our last byte.
pub fn end_output(socket: BorrowedFd<'_>) {
    // SAFETY: no pointers. A connection that is gone needs no FIN.
    let _ = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
}

/// The socket will end with RST when it is closed.
pub fn reset_on_close(socket: BorrowedFd<'_>) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the pointer and the length are those of a live value. On failure it ends with FIN.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as socklen_t,
        )
    };
}

/// Small writes leave at once. Fails on Unix sockets, which need none of it.
pub fn set_no_delay(socket: BorrowedFd<'_>) {
    let _ = set(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
}

pub fn set_keepalive(socket: BorrowedFd<'_>, keepalive: &TcpKeepalive) {
    let _ = set(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
    for (name, value) in [
        (libc::TCP_KEEPCNT, keepalive.probes),
        (libc::TCP_KEEPIDLE, keepalive.time),
        (libc::TCP_KEEPINTVL, keepalive.interval),
    ] {
        if let Some(value) = value {
            let _ = set(socket, libc::IPPROTO_TCP, name, c_int::try_from(value).unwrap_or(c_int::MAX));
        }
    }
}

pub fn set_reuse_address(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)
}

/// A socket of `::` takes IPv4 clients too, as Envoy's `ipv4_compat` and the mesh's dual-stack listeners want it.
pub fn set_both_families(socket: BorrowedFd<'_>) {
    let _ = set(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0);
}

/// Bind to and answer from foreign addresses (TPROXY); needs CAP_NET_ADMIN.
pub fn set_transparent(socket: BorrowedFd<'_>, is_v6: bool) -> io::Result<()> {
    if is_v6 {
        set(socket, libc::SOL_IPV6, libc::IPV6_TRANSPARENT, 1)
    } else {
        set(socket, libc::SOL_IP, libc::IP_TRANSPARENT, 1)
    }
}

/// The port of a source address is chosen at connect, so that one address serves more connections than it has ports.
pub fn set_late_port(socket: BorrowedFd<'_>) {
    let _ = set(socket, libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
}

/// How many descriptors the process may have.
pub fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live value.
    match check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }) {
        Ok(_) => limit.rlim_cur,
        Err(_) => 1_024,
    }
}

/// Lifts the soft limit of descriptors to the hard one: a proxy needs two per exchange.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to live values. On failure the old limit stays.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            let _ = libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// This thread takes no signals: they belong to Python's.
pub fn block_signals() {
    // SAFETY: the set is initialised by `sigfillset` before it is read.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigfillset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Hands memory that the allocator keeps for later back to the system.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointers, and locks the allocator as any allocation does.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A pair of pipe ends, non-blocking: what is written to the second is read from the first.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends: [c_int; 2] = [-1; 2];
    // SAFETY: the array holds two descriptors, which are new and ours alone afterwards.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC))?;
        let [read, write] = ends;
        Ok((OwnedFd::from_raw_fd(read), OwnedFd::from_raw_fd(write)))
    }
}

/// What waits in a pipe, as far as it fits.
pub fn read_pipe(end: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes within the slice.
    retry(|| check_size(unsafe { libc::read(end.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) }))
}

/// Into a pipe; one that is full holds a wake-up already.
pub fn write_pipe(end: BorrowedFd<'_>, bytes: &[u8]) {
    // SAFETY: the kernel reads within the slice.
    let _ = retry(|| check_size(unsafe { libc::write(end.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) }));
}

/// Waits until one of the descriptors has something to read, or the time is up.
pub fn wait_readable(descriptors: &[BorrowedFd<'_>], milliseconds: i32) {
    let mut entries: Vec<libc::pollfd> = descriptors
        .iter()
        .map(|descriptor| libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    // SAFETY: the entries are as many as is said.
    unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, milliseconds) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn addresses_survive_the_kernel() {
        for text in ["127.0.0.1:0", "[::1]:0"] {
            let target = Target::Ip(text.parse().unwrap());
            let Ok(socket) = stream_socket(&target) else { continue };
            if bind(socket.as_fd(), &target).is_err() {
                continue;
            }
            listen(socket.as_fd(), 8).unwrap();
            let local = local_address(socket.as_fd()).unwrap();
            let client = std::net::TcpStream::connect(local).unwrap();
            wait_readable(&[socket.as_fd()], 5_000);
            let (accepted, peer) = accept(socket.as_fd()).unwrap();
            assert_eq!(peer, client.local_addr().ok());
            assert_eq!(local_address(accepted.as_fd()), Some(local));
        }
    }

    #[test]
    fn unix_sockets_have_paths_or_abstract_names() {
        let name = format!("@mainstay-test-{}", std::process::id());
        let target = Target::Unix(name);
        let listener = stream_socket(&target).unwrap();
        bind(listener.as_fd(), &target).unwrap();
        listen(listener.as_fd(), 8).unwrap();
        let client = stream_socket(&target).unwrap();
        assert!(connect(client.as_fd(), &target).unwrap());
        let (accepted, peer) = accept(listener.as_fd()).unwrap();
        assert_eq!(peer, None);
        let pieces = [IoSlice::new(b"one "), IoSlice::new(b"write")];
        assert_eq!(send(client.as_fd(), &pieces).unwrap(), 9);
        let mut buffer = [0; 32];
        assert_eq!(receive(accepted.as_fd(), &mut buffer).unwrap(), 9);
        assert_eq!(&buffer[..9], b"one write");
        for bad in ["", "a\0b", &"x".repeat(108)] {
            assert!(bind(listener.as_fd(), &Target::Unix(bad.to_owned())).is_err());
        }
    }
}
