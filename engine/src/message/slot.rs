//! Slab of things found by key: slot and generation. A stale key finds nothing, so nobody holds a pointer to a connection or an exchange.

/// Finds a value in a `Slab` as long as that very value is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// As one number, for a poll token or a message to another thread.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }

    /// The place alone, whoever is there.
    pub fn slot(self) -> u32 {
        self.slot
    }
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    live: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), live: 0 }
    }
}

impl<T> Slab<T> {
    #[inline]
    pub fn insert(&mut self, value: T) -> Key {
        self.live += 1;
        if let Some(slot) = self.free.pop()
            && let Some(entry) = self.entries.get_mut(slot as usize)
        {
            entry.value = Some(value);
            return Key { slot, generation: entry.generation };
        }
        let slot = self.entries.len() as u32;
        self.entries.push(Entry { generation: 0, value: Some(value) });
        Key { slot, generation: 0 }
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        self.entries.get(key.slot as usize).filter(|entry| entry.generation == key.generation)?.value.as_ref()
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.entries
            .get_mut(key.slot as usize)
            .filter(|entry| entry.generation == key.generation)?
            .value
            .as_mut()
    }

    /// Takes the value out for good: the key is stale from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let entry =
            self.entries.get_mut(key.slot as usize).filter(|entry| entry.generation == key.generation)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.slot);
        self.live -= 1;
        Some(value)
    }

    /// As `remove`, for a value that nobody wants any more: large ones need not be moved out.
    pub fn discard(&mut self, key: Key) {
        let entry =
            self.entries.get_mut(key.slot as usize).filter(|entry| entry.generation == key.generation);
        if let Some(entry) = entry.filter(|entry| entry.value.is_some()) {
            entry.value = None;
            entry.generation = entry.generation.wrapping_add(1);
            self.free.push(key.slot);
            self.live -= 1;
        }
    }

    /// The key an `insert` would return next; for values that must know their own key.
    pub fn next_key(&self) -> Key {
        match self.free.last() {
            Some(&slot) => {
                Key { slot, generation: self.entries.get(slot as usize).map_or(0, |entry| entry.generation) }
            }
            None => Key { slot: self.entries.len() as u32, generation: 0 },
        }
    }

    /// The key of what is in a place now.
    pub fn key_at(&self, slot: u32) -> Option<Key> {
        let entry = self.entries.get(slot as usize).filter(|entry| entry.value.is_some())?;
        Some(Key { slot, generation: entry.generation })
    }

    pub fn len(&self) -> usize {
        self.live
    }

    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().enumerate().filter_map(|(slot, entry)| {
            let key = Key { slot: slot as u32, generation: entry.generation };
            entry.value.as_ref().map(|value| (key, value))
        })
    }

    pub fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_key_finds_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert("a");
        assert_eq!(slab.remove(first), Some("a"));
        assert_eq!(slab.key_at(first.slot()), None);
        let second = slab.insert("b");
        assert_eq!((slab.key_at(first.slot()), slab.key_at(9)), (Some(second), None));
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&"b")));
        assert_eq!(slab.remove(first), None);
        assert_eq!(Key::from_bits(second.to_bits()), second);
        slab.discard(second);
        slab.discard(second);
        assert_eq!((slab.get(second), slab.len()), (None, 0));
    }
}
