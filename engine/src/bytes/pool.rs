//! A worker's stock of blocks in two sizes: the first block of an outbox is small, since most responses fit.

/// Bytes in the first block of an outbox.
pub const SMALL_BLOCK: usize = 2 * 1024;
/// Bytes in every further block: one full TLS record.
pub const LARGE_BLOCK: usize = 16 * 1024;
/// Blocks of each size kept for re-use; what comes back beyond that is freed (bounds idle memory at ~1.1 MiB a worker).
const KEPT_SMALL: usize = 64;
const KEPT_LARGE: usize = 64;

/// One block: `start..end` is filled and not yet taken.
#[derive(Debug)]
pub struct Block {
    data: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Block {
    fn new(size: usize) -> Self {
        Self { data: vec![0; size].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The bytes in the block that nobody has taken.
    pub fn filled(&self) -> &[u8] {
        self.data.get(self.start..self.end).unwrap_or(&[])
    }

    /// How many more bytes fit.
    pub fn room(&self) -> usize {
        self.data.len() - self.end
    }

    /// Appends as much of `bytes` as fits and says how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        if let (Some(target), Some(source)) =
            (self.data.get_mut(self.end..self.end + taken), bytes.get(..taken))
        {
            target.copy_from_slice(source);
            self.end += taken;
        }
        taken
    }

    /// Appends all of `bytes` if they fit; says whether they did.
    #[inline]
    pub fn append_whole(&mut self, bytes: &[u8]) -> bool {
        let end = self.end + bytes.len();
        match self.data.get_mut(self.end..end) {
            Some(target) => {
                target.copy_from_slice(bytes);
                self.end = end;
                true
            }
            None => false,
        }
    }

    /// As `append_whole`, for several pieces behind each other.
    #[inline]
    pub fn append_parts<const N: usize>(&mut self, parts: [&[u8]; N]) -> bool {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let Some(mut room) = self.data.get_mut(self.end..self.end + length) else { return false };
        for part in parts {
            let (target, rest) = room.split_at_mut(part.len());
            target.copy_from_slice(part);
            room = rest;
        }
        self.end += length;
        true
    }

    /// As `append_parts`, for two pieces of which the first is edited where it goes.
    #[inline(always)]
    pub fn append_edited(&mut self, first: &[u8], second: &[u8], edit: impl FnOnce(&mut [u8])) -> bool {
        let length = first.len() + second.len();
        let Some(room) = self.data.get_mut(self.end..self.end + length) else { return false };
        let (target, rest) = room.split_at_mut(first.len());
        target.copy_from_slice(first);
        edit(target);
        rest.copy_from_slice(second);
        self.end += length;
        true
    }

    /// As `append_parts`, for two pieces with two bytes behind each: copies of known size cost next to nothing.
    #[inline]
    pub fn append_pair(&mut self, first: (&[u8], [u8; 2]), second: (&[u8], [u8; 2])) -> bool {
        let length = first.0.len() + second.0.len() + 4;
        let Some(mut room) = self.data.get_mut(self.end..self.end + length) else { return false };
        for (piece, behind) in [first, second] {
            let (target, rest) = room.split_at_mut(piece.len());
            target.copy_from_slice(piece);
            let (target, rest) = rest.split_at_mut(2);
            target.copy_from_slice(&behind);
            room = rest;
        }
        self.end += length;
        true
    }

    /// Takes `count` bytes off the front (all that is filled, if `count` is larger) and says how much that was.
    pub fn consume(&mut self, count: usize) -> usize {
        let taken = count.min(self.end - self.start);
        self.start += taken;
        taken
    }
}

/// The worker's stock.
#[derive(Debug, Default)]
pub struct Pool {
    small: Vec<Block>,
    large: Vec<Block>,
}

impl Pool {
    pub fn small(&mut self) -> Block {
        self.small.pop().unwrap_or_else(|| Block::new(SMALL_BLOCK))
    }

    pub fn large(&mut self) -> Block {
        self.large.pop().unwrap_or_else(|| Block::new(LARGE_BLOCK))
    }

    pub fn give_back(&mut self, mut block: Block) {
        block.start = 0;
        block.end = 0;
        let (stock, kept) = if block.data.len() == SMALL_BLOCK {
            (&mut self.small, KEPT_SMALL)
        } else {
            (&mut self.large, KEPT_LARGE)
        };
        if stock.len() < kept {
            stock.push(block);
        }
    }

    /// Frees every block in stock (memory pressure, quiet worker).
    pub fn trim(&mut self) {
        self.small = Vec::new();
        self.large = Vec::new();
    }
}
