//! Names to shared values in 64 parts, copied on write: a change copies one part, a reader needs no lock.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::message::QuickHash;

const PARTS: usize = 64;

/// By the name's hash, so that a name is hashed once for its part and its place there. Of names with equal hashes the later stand at
/// the next free numbers: a name stands at its hash or behind it without a gap.
type Part<T> = HashMap<u64, (Arc<str>, Arc<T>), QuickHash>;

/// An immutable map; `with` and `without` give the next one.
#[derive(Debug)]
pub struct Shards<T> {
    parts: Vec<Arc<Part<T>>>,
}

impl<T> Clone for Shards<T> {
    fn clone(&self) -> Self {
        Self { parts: self.parts.clone() }
    }
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        let empty = Arc::new(Part::default());
        Self { parts: (0..PARTS).map(|_| Arc::clone(&empty)).collect() }
    }
}

fn hash_of(name: &str) -> u64 {
    QuickHash::default().hash_one(name)
}

fn part_of(hash: u64) -> usize {
    // The map inside uses the lowest bits and the highest.
    (hash >> 48) as usize % PARTS
}

/// Where a name stands, or the free place for it.
fn place_of<T>(part: &Part<T>, hash: u64, name: &str) -> u64 {
    let mut place = hash;
    while part.get(&place).is_some_and(|(known, _)| **known != *name) {
        place = place.wrapping_add(1);
    }
    place
}

impl<T> Shards<T> {
    pub fn get(&self, name: &str) -> Option<&Arc<T>> {
        let hash = hash_of(name);
        let part = self.parts.get(part_of(hash))?;
        let (known, value) = part.get(&hash)?;
        if **known == *name { Some(value) } else { self.get_behind(part_of(hash), hash, name) }
    }

    #[cold]
    fn get_behind(&self, part: usize, hash: u64, name: &str) -> Option<&Arc<T>> {
        let part = self.parts.get(part)?;
        part.get(&place_of(part, hash, name)).map(|(_, value)| value)
    }

    pub fn insert(&mut self, name: &str, value: Arc<T>) {
        let hash = hash_of(name);
        if let Some(part) = self.parts.get_mut(part_of(hash)) {
            put(Arc::make_mut(part), hash, name.into(), value);
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<Arc<T>> {
        let hash = hash_of(name);
        let part = self.parts.get_mut(part_of(hash))?;
        let place = place_of(part, hash, name);
        if part.contains_key(&place) { take(Arc::make_mut(part), place, hash_of) } else { None }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<T>)> {
        self.parts.iter().flat_map(|part| part.values()).map(|(name, value)| (name, value))
    }

    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn put<T>(part: &mut Part<T>, hash: u64, name: Arc<str>, value: Arc<T>) {
    let place = place_of(part, hash, &name);
    part.insert(place, (name, value));
}

/// Those behind move up, so that there is no gap before any of them.
fn take<T>(part: &mut Part<T>, place: u64, hash_of: impl Fn(&str) -> u64) -> Option<Arc<T>> {
    let (_, taken) = part.remove(&place)?;
    let mut behind = place.wrapping_add(1);
    while let Some((name, value)) = part.remove(&behind) {
        put(part, hash_of(&name), name, value);
        behind = behind.wrapping_add(1);
    }
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_of_equal_hashes_stand_beside_each_other(
            changes in proptest::collection::vec((any::<bool>(), "[ab]{0,2}", any::<u8>()), 0..40),
        ) {
            // Five hashes, two of them neighbours of a third, for seven names.
            let hash_of = |name: &str| u64::MAX.wrapping_add(name.len() as u64 * 2 + u64::from(name.starts_with('a')));
            let (mut part, mut plain) = (Part::default(), HashMap::new());
            for (is_new, name, value) in changes {
                if is_new {
                    put(&mut part, hash_of(&name), name.as_str().into(), Arc::new(value));
                    plain.insert(name, value);
                } else {
                    let place = place_of(&part, hash_of(&name), &name);
                    let taken = take(&mut part, place, hash_of);
                    prop_assert_eq!(taken.map(|value| *value), plain.remove(&name));
                }
                prop_assert_eq!(part.len(), plain.len());
                for (name, value) in &plain {
                    let place = place_of(&part, hash_of(name), name);
                    prop_assert_eq!(part.get(&place).map(|(_, value)| **value), Some(*value));
                }
            }
        }
    }

    #[test]
    fn a_change_leaves_the_former_map_as_it_was() {
        let mut first = Shards::default();
        for number in 0..1_000 {
            first.insert(&format!("outbound|80||service-{number}.shop"), Arc::new(number));
        }
        let mut second = first.clone();
        second.insert("outbound|80||service-7.shop", Arc::new(-7));
        second.remove("outbound|80||service-8.shop");
        assert_eq!((first.len(), second.len()), (1_000, 999));
        assert_eq!(first.get("outbound|80||service-7.shop").map(|value| **value), Some(7));
        assert_eq!(second.get("outbound|80||service-7.shop").map(|value| **value), Some(-7));
        let copied = first.parts.iter().zip(&second.parts).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert!(copied <= 2, "{copied} parts copied");
        assert!(first.parts.iter().filter(|part| !part.is_empty()).count() > 50, "names spread");
    }
}
