//! What filters have found out about a client's connection, so that its next request need not ask again.
//!
//! A fact depends on the connection's peer, which never changes, and on the rules it was found by, whose number names no others:
//! rules are immutable, and new ones get a new number. It goes with the connection. At most `RULES` sets of rules
//! are remembered, each in 24 bytes; a connection whose rules ask nothing of this kind keeps nothing.

use std::cell::RefCell;

/// Sets of rules of one connection: its chain's, and those of routes.
const RULES: usize = 4;

/// What is known of up to 64 questions, by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    known: u64,
    holds: u64,
}

impl Facts {
    /// Questions that can be remembered.
    pub const ROOM: usize = 64;

    /// The answer to a question; `find` is asked when it is not known.
    pub fn answer(&mut self, question: u8, find: impl FnOnce() -> bool) -> bool {
        let bit = 1_u64.checked_shl(question.into()).unwrap_or(0);
        if self.known & bit != 0 {
            return self.holds & bit != 0;
        }
        let holds = find();
        self.known |= bit;
        if holds {
            self.holds |= bit;
        }
        holds
    }
}

/// The facts of one connection, by the number of the rules that ask for them.
#[derive(Debug, Default)]
pub struct Remembered(RefCell<Vec<(u64, Facts)>>);

impl Remembered {
    pub fn of(&self, rules: u64) -> Facts {
        let kept = self.0.borrow();
        kept.iter().find(|(known, _)| *known == rules).map_or_else(Facts::default, |(_, facts)| *facts)
    }

    pub fn keep(&self, rules: u64, facts: Facts) {
        let mut kept = self.0.borrow_mut();
        if let Some((_, known)) = kept.iter_mut().find(|(known, _)| *known == rules) {
            *known = facts;
            return;
        }
        if kept.len() >= RULES {
            kept.remove(0);
        }
        if kept.capacity() == 0 {
            kept.reserve_exact(1);
        }
        kept.push((rules, facts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_once_and_only_for_its_question() {
        let mut facts = Facts::default();
        assert!(facts.answer(3, || true) && !facts.answer(63, || false));
        assert!(facts.answer(3, || unreachable!()) && !facts.answer(63, || unreachable!()));
        assert!(facts.answer(4, || true));
    }

    #[test]
    fn rules_have_facts_of_their_own_and_the_oldest_go() {
        let remembered = Remembered::default();
        for rules in 0..6 {
            let mut facts = Facts::default();
            facts.answer(rules as u8, || true);
            remembered.keep(rules, facts);
            assert_eq!(remembered.of(rules), facts);
        }
        assert_eq!(remembered.of(1), Facts::default());
        assert!(remembered.of(2).answer(2, || false));
        assert_eq!(remembered.0.borrow().len(), RULES);
    }
}
