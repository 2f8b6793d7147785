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

/// What the filters of one exchange remember, by their index. Few remember anything: a chain of which one filter does allocates
/// nothing, and those that do not take no room.
#[derive(Debug, Default)]
pub struct States {
    first: (usize, StateSlot),
    more: Vec<(usize, StateSlot)>,
}

impl States {
    /// No filter has left anything.
    pub fn is_empty(&self) -> bool {
        self.first.1.is_empty() && self.more.is_empty()
    }

    /// Lends a filter its own, empty if it has left nothing yet.
    pub fn with<R>(&mut self, filter: usize, act: impl FnOnce(&mut StateSlot) -> R) -> R {
        let mut state = self.take(filter);
        let result = act(&mut state);
        if !state.is_empty() {
            if self.first.1.is_empty() {
                self.first = (filter, state);
            } else {
                self.more.push((filter, state));
            }
        }
        result
    }

    fn take(&mut self, filter: usize) -> StateSlot {
        if self.first.0 == filter && !self.first.1.is_empty() {
            return std::mem::take(&mut self.first.1);
        }
        match self.more.iter().position(|(known, _)| *known == filter) {
            Some(at) => self.more.swap_remove(at).1,
            None => StateSlot::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_filter_finds_what_it_left() {
        let mut states = States::default();
        assert!(states.is_empty());
        for filter in [0, 3, 4, 9] {
            states.with(filter, |state| *state = StateSlot::Words([filter as u64, 1]));
        }
        assert_eq!(states.with(9, |state| state.words()), Some([9, 1]));
        assert_eq!(states.with(3, |state| state.words()), Some([3, 1]));
        assert_eq!(states.with(5, |state| state.words()), None);
        assert_eq!(states.with(0, |state| std::mem::take(state).words()), Some([0, 1]));
        assert_eq!((states.with(0, |state| state.words()), states.is_empty()), (None, false));
        states.with(5, |state| *state.boxed::<String>().unwrap() = "x".into());
        states.with(5, |state| {
            assert_eq!(state.boxed::<String>().unwrap(), "x");
            assert!(state.boxed::<u64>().is_none());
        });
    }
}
