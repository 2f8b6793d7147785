//! Flow control (RFC 9113 §5.2, §6.9): what we may send, and what the peer may.

/// The window of a connection, and of a stream before SETTINGS say otherwise, bytes.
pub(super) const INITIAL: u32 = 65_535;
const MAX: i64 = 0x7fff_ffff;

/// A window beyond 2^31-1, or a peer that sent more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceeded;

/// What we may still send. SETTINGS may turn it negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SendWindow(i64);

impl SendWindow {
    pub fn new(size: u32) -> Self {
        Self(i64::from(size))
    }

    pub fn room(self) -> usize {
        self.0.max(0) as usize
    }

    pub fn take(&mut self, bytes: usize) {
        self.0 -= bytes as i64;
    }

    /// By an increment, or by the change of an initial size.
    pub fn change(&mut self, by: i64) -> Result<(), Exceeded> {
        self.0 += by;
        if self.0 > MAX { Err(Exceeded) } else { Ok(()) }
    }
}

/// What the peer may still send, and what it may send again but has not been told.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReceiveWindow {
    allowed: u32,
    credit: u32,
    size: u32,
}

impl ReceiveWindow {
    pub fn new(size: u32) -> Self {
        Self { allowed: size, credit: 0, size }
    }

    /// The peer has sent so many bytes.
    pub fn charge(&mut self, bytes: usize) -> Result<(), Exceeded> {
        let rest = (self.allowed as usize).checked_sub(bytes).ok_or(Exceeded)?;
        self.allowed = rest as u32;
        Ok(())
    }

    /// So many bytes have left our hands. Half a window is told at once, so that few frames say it and the peer never waits.
    pub fn give(&mut self, bytes: usize) -> Option<u32> {
        self.credit = self.credit.saturating_add(bytes as u32);
        if self.credit < self.size / 2 {
            return None;
        }
        let increment = std::mem::take(&mut self.credit);
        self.allowed = self.allowed.saturating_add(increment);
        Some(increment)
    }

    #[cfg(test)]
    pub fn missing(&self) -> u32 {
        self.size - self.allowed - self.credit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn send_window_goes_below_zero_and_comes_back() {
        let mut window = SendWindow::new(100);
        window.take(80);
        assert_eq!((window.change(-50), window.room()), (Ok(()), 0));
        assert_eq!((window.change(40), window.room()), (Ok(()), 10));
        assert_eq!(window.change(MAX), Err(Exceeded));
    }

    #[test]
    fn credit_is_told_by_halves() {
        let mut window = ReceiveWindow::new(1_000);
        assert_eq!(window.charge(1_001), Err(Exceeded));
        assert_eq!(window.charge(900), Ok(()));
        assert_eq!((window.give(499), window.give(1)), (None, Some(500)));
        assert_eq!((window.missing(), window.charge(601)), (400, Err(Exceeded)));
    }
}
