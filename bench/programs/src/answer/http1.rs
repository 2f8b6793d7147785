//! HTTP/1.1: an answer for each blank line, since requests have no body.

use super::Fixed;

const END: &[u8] = b"\r\n\r\n";

#[derive(Debug, Default)]
pub struct Server {
    /// How much of the blank line that ends a head has been seen.
    matched: usize,
}

impl Server {
    pub fn take(&mut self, bytes: &[u8], fixed: &Fixed, out: &mut Vec<u8>) {
        for &byte in bytes {
            if byte == END[self.matched] {
                self.matched += 1;
                if self.matched == END.len() {
                    self.matched = 0;
                    out.extend_from_slice(&fixed.response);
                }
            } else {
                self.matched = usize::from(byte == b'\r');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_head_is_answered_once_however_the_bytes_are_cut() {
        let fixed = Fixed::new(1);
        let bytes = b"GET / HTTP/1.1\r\na: b\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        for at in 0..bytes.len() {
            let (mut server, mut out) = (Server::default(), Vec::new());
            server.take(&bytes[..at], &fixed, &mut out);
            server.take(&bytes[at..], &fixed, &mut out);
            assert_eq!(out.len(), 2 * fixed.response.len(), "cut at {at}");
        }
    }
}
