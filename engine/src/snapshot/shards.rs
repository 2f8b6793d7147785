//! Names to shared values in 64 parts, copied on write: a change copies one part, a reader needs no lock.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::message::QuickHash;

const PARTS: usize = 64;

type Part<T> = HashMap<Arc<str>, Arc<T>, QuickHash>;

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

fn part_of(name: &str) -> usize {
    // The map inside uses the lowest bits and the highest.
    (QuickHash::default().hash_one(name) >> 48) as usize % PARTS
}

impl<T> Shards<T> {
    pub fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.parts.get(part_of(name))?.get(name)
    }

    pub fn insert(&mut self, name: &str, value: Arc<T>) {
        if let Some(part) = self.parts.get_mut(part_of(name)) {
            Arc::make_mut(part).insert(name.into(), value);
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<Arc<T>> {
        let part = self.parts.get_mut(part_of(name))?;
        if part.contains_key(name) { Arc::make_mut(part).remove(name) } else { None }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<T>)> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
