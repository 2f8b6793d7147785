//! Numbers and addresses as text, without allocation and without the formatter, which costs ten times what the digits do.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// Digits of one number.
#[derive(Debug, Clone, Copy)]
pub struct Digits {
    /// At the end of the buffer.
    buffer: [u8; 20],
    start: u8,
}

impl Digits {
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer.get(usize::from(self.start)..).unwrap_or(&[])
    }

    #[inline]
    fn write<const BASE: u64>(mut number: u64) -> Self {
        let mut digits = Self { buffer: [b'0'; 20], start: 20 };
        for slot in digits.buffer.iter_mut().rev() {
            *slot = digit((number % BASE) as u8);
            digits.start -= 1;
            number /= BASE;
            if number == 0 {
                break;
            }
        }
        digits
    }
}

/// Of a number below 16.
fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' - 10 + value }
}

pub fn decimal(number: u64) -> Digits {
    Digits::write::<10>(number)
}

/// Lower-case.
pub fn hexadecimal(number: u64) -> Digits {
    Digits::write::<16>(number)
}

/// All sixteen digits of a word, lower-case.
pub fn hexadecimal_word(number: u64) -> [u8; 16] {
    std::array::from_fn(|index| digit((number >> (60 - 4 * index) & 0xf) as u8))
}

pub fn push_decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(decimal(number).as_bytes());
}

/// The last `N` digits, with leading zeros.
pub fn push_padded<const N: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut text = [b'0'; N];
    for slot in text.iter_mut().rev() {
        *slot = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&text);
}

/// As `IpAddr` prints itself.
pub fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    let IpAddr::V4(ip) = ip else {
        let _ = write!(out, "{ip}");
        return;
    };
    for (index, octet) in ip.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        push_decimal(out, octet.into());
    }
}

/// As `SocketAddr` prints itself.
pub fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(_) => {
            push_ip(out, address.ip());
            out.push(b':');
            push_decimal(out, address.port().into());
        }
        SocketAddr::V6(_) => {
            let _ = write!(out, "{address}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn pushed(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        text(&out)
    }

    proptest! {
        #[test]
        fn numbers_read_as_the_formatter_writes_them(number: u64, shift in 0u32..64) {
            let number = number >> shift;
            prop_assert_eq!(text(decimal(number).as_bytes()), number.to_string());
            prop_assert_eq!(text(hexadecimal(number).as_bytes()), format!("{number:x}"));
            prop_assert_eq!(text(&hexadecimal_word(number)), format!("{number:016x}"));
            prop_assert_eq!(pushed(|out| push_padded::<3>(out, number)), format!("{:03}", number % 1_000));
        }

        #[test]
        fn addresses_read_as_the_formatter_writes_them(ip: IpAddr, port: u16) {
            prop_assert_eq!(pushed(|out| push_ip(out, ip)), ip.to_string());
            let address = SocketAddr::new(ip, port);
            prop_assert_eq!(pushed(|out| push_address(out, address)), address.to_string());
        }
    }

    #[test]
    fn the_least_and_the_greatest_fit() {
        for number in [0, 9, 10, u64::MAX] {
            assert_eq!(text(decimal(number).as_bytes()), number.to_string());
        }
    }
}
