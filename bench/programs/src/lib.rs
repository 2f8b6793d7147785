//! What the benchmark programs share: an edge-triggered loop over non-blocking sockets, and bytes that could not be written.

pub mod answer;
pub mod frames;
pub mod rpc;
pub mod wire;

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};

/// Reads until the kernel has no more, handing each piece to `take`. `Ok(true)`: the peer has sent its last byte.
pub fn read_all(stream: &mut TcpStream, buffer: &mut [u8], mut take: impl FnMut(&[u8])) -> io::Result<bool> {
    loop {
        match stream.read(buffer) {
            Ok(0) => return Ok(true),
            Ok(count) => {
                take(&buffer[..count]);
                if count < buffer.len() {
                    return Ok(false);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Bytes that wait until a socket takes them.
#[derive(Debug, Default)]
pub struct Pending {
    bytes: Vec<u8>,
    start: usize,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Writes what waits, then `bytes`; keeps what the socket does not take.
    pub fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        if !self.is_empty() {
            self.bytes.extend_from_slice(bytes);
            return self.flush(stream);
        }
        let written = write_some(stream, bytes)?;
        self.bytes.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    pub fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        self.start += write_some(stream, &self.bytes[self.start..])?;
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
        Ok(())
    }
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// A listener on an address given as text, or the end of the program in words.
pub fn listen(address: &str) -> TcpListener {
    let parsed: SocketAddr = address.parse().unwrap_or_else(|_| fail(&format!("{address:?} is no IP:PORT")));
    TcpListener::bind(parsed).unwrap_or_else(|error| fail(&format!("cannot listen on {address}: {error}")))
}

/// Ends the program with one line on standard error.
pub fn fail(reason: &str) -> ! {
    eprintln!("{reason}");
    std::process::exit(2);
}
