//! Numbers and addresses as text, without allocation and without the formatter, which costs ten times what the digits do.

use std::cell::RefCell;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

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
}

/// Of a number below 16.
fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' - 10 + value }
}

/// `00` to `99`.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Both digits of the last two.
#[inline]
pub fn pair(number: u64) -> [u8; 2] {
    PAIRS.get((number % 100) as usize).copied().unwrap_or_default()
}

pub fn decimal(mut number: u64) -> Digits {
    let mut digits = Digits { buffer: [b'0'; 20], start: 20 };
    let (pairs, _) = digits.buffer.as_chunks_mut::<2>();
    for slot in pairs.iter_mut().rev() {
        *slot = pair(number);
        digits.start -= 2;
        number /= 100;
        if number == 0 {
            digits.start += u8::from(slot[0] == b'0');
            break;
        }
    }
    digits
}

/// Lower-case.
pub fn hexadecimal(mut number: u64) -> Digits {
    let mut digits = Digits { buffer: [b'0'; 20], start: 20 };
    for slot in digits.buffer.iter_mut().rev() {
        *slot = digit((number % 16) as u8);
        digits.start -= 1;
        number /= 16;
        if number == 0 {
            break;
        }
    }
    digits
}

/// All sixteen digits of a word, lower-case.
pub fn hexadecimal_word(number: u64) -> [u8; 16] {
    let (high, low) = (eight_digits((number >> 32) as u32), eight_digits(number as u32));
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// Eight nibbles at a time: they are spread over a word, and those above nine are lifted to the letters.
fn eight_digits(number: u32) -> u64 {
    let mut word = u64::from(number);
    word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    word = (word | word << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let above_nine = ((word + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    word + 0x3030_3030_3030_3030 + above_nine * u64::from(b'a' - b'0' - 10)
}

/// Most numbers are short.
#[inline]
pub fn push_decimal(out: &mut Vec<u8>, number: u64) {
    match number {
        0..10 => out.push(b'0' + number as u8),
        10..100 => out.extend_from_slice(&pair(number)),
        100..1_000 => {
            let [tens, ones] = pair(number);
            out.extend_from_slice(&[b'0' + (number / 100) as u8, tens, ones]);
        }
        _ => out.extend_from_slice(decimal(number).as_bytes()),
    }
}

/// The last `N` digits, with leading zeros.
#[inline]
pub fn padded<const N: usize>(mut number: u64) -> [u8; N] {
    let mut text = [b'0'; N];
    for slot in text.iter_mut().rev() {
        *slot = b'0' + (number % 10) as u8;
        number /= 10;
    }
    text
}

pub fn push_padded<const N: usize>(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&padded::<N>(number));
}

/// As `IpAddr` prints itself.
pub fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let mut text = Short::default();
            text.push_ip(ip);
            out.extend_from_slice(text.as_bytes());
        }
        IpAddr::V6(ip) => {
            let _ = write!(out, "{ip}");
        }
    }
}

/// Addresses whose text a thread remembers: logs say the same few again and again.
const KNOWN_ADDRESSES: usize = 128;

thread_local! {
    static KNOWN: RefCell<[Option<(SocketAddrV4, Short)>; KNOWN_ADDRESSES]> =
        const { RefCell::new([const { None }; KNOWN_ADDRESSES]) };
}

/// As `SocketAddr` prints itself.
pub fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(address) => KNOWN.with_borrow_mut(|known| {
            // Neighbours differ in their ports.
            let text = known.get_mut(usize::from(address.port()) % KNOWN_ADDRESSES);
            match text {
                Some(Some((of, text))) if *of == address => out.extend_from_slice(text.as_bytes()),
                other => {
                    let mut text = Short::default();
                    text.push_ip(*address.ip());
                    text.push(b':');
                    text.push_number(address.port());
                    out.extend_from_slice(text.as_bytes());
                    if let Some(slot) = other {
                        *slot = Some((address, text));
                    }
                }
            }
        }),
        SocketAddr::V6(address) => {
            let _ = write!(out, "{address}");
        }
    }
}

/// Room for an address of IPv4 with its port.
#[derive(Default)]
struct Short {
    bytes: [u8; 24],
    length: usize,
}

impl Short {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
    }

    fn push_ip(&mut self, ip: Ipv4Addr) {
        let [first, rest @ ..] = ip.octets();
        self.push_number(first.into());
        for octet in rest {
            self.push(b'.');
            self.push_number(octet.into());
        }
    }

    fn push_number(&mut self, number: u16) {
        let digit = |value: u16| b'0' + (value % 10) as u8;
        if number >= 100 {
            if number >= 1_000 {
                if number >= 10_000 {
                    self.push(digit(number / 10_000));
                }
                self.push(digit(number / 1_000));
            }
            self.push(digit(number / 100));
        }
        if number >= 10 {
            self.push(digit(number / 10));
        }
        self.push(digit(number));
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
            for _ in 0..2 {
                // The second time by heart.
                prop_assert_eq!(pushed(|out| push_address(out, address)), address.to_string());
            }
        }
    }

    #[test]
    fn the_least_and_the_greatest_fit() {
        for number in [0, 9, 10, u64::MAX] {
            assert_eq!(text(decimal(number).as_bytes()), number.to_string());
        }
    }
}
