//! What filters remember of one exchange.

use std::any::Any;

/// A filter's memory of an exchange: nothing, two words, or a box.
#[derive(Debug, Default)]
pub enum StateSlot {
    #[default]
    Empty,
    Words([u64; 2]),
    Boxed(Box<dyn Any>),
}

impl StateSlot {
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub fn words(&self) -> Option<[u64; 2]> {
        match self {
            Self::Words(words) => Some(*words),
            _ => None,
        }
    }

    /// The box's contents, made on first use.
    pub fn boxed<T: Default + 'static>(&mut self) -> Option<&mut T> {
        if !matches!(self, Self::Boxed(_)) {
            *self = Self::Boxed(Box::<T>::default());
        }
        match self {
            Self::Boxed(held) => held.downcast_mut(),
            _ => None,
        }
    }
}

/// Filters of a chain whose state needs no allocation.
const INLINE: usize = 4;

/// The slots of one exchange, by the filter's index. Chains of up to four filters allocate nothing.
#[derive(Debug, Default)]
pub struct States {
    few: [StateSlot; INLINE],
    more: Vec<StateSlot>,
    spare: StateSlot,
}

impl States {
    /// No filter has left anything.
    pub fn is_empty(&self) -> bool {
        self.more.is_empty() && self.few.iter().all(StateSlot::is_empty)
    }

    pub fn slot(&mut self, filter: usize) -> &mut StateSlot {
        let Some(more) = filter.checked_sub(INLINE) else {
            return self.few.get_mut(filter).unwrap_or(&mut self.spare);
        };
        if self.more.len() <= more {
            self.more.resize_with(more + 1, StateSlot::default);
        }
        self.more.get_mut(more).unwrap_or(&mut self.spare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_remember_by_filter() {
        let mut states = States::default();
        for filter in [0, 3, 4, 9] {
            *states.slot(filter) = StateSlot::Words([filter as u64, 1]);
        }
        assert_eq!(states.slot(9).words(), Some([9, 1]));
        assert_eq!(states.slot(3).words(), Some([3, 1]));
        assert_eq!(states.slot(5).words(), None);
        assert!(!states.is_empty() && States::default().is_empty());
        *states.slot(5).boxed::<String>().unwrap() = "x".into();
        assert_eq!(states.slot(5).boxed::<String>().unwrap(), "x");
        assert!(states.slot(5).boxed::<u64>().is_none());
    }
}
