//! Whether two short texts are equal, compared where they are asked for.
//!
//! The C library's `memcmp` is one function for all that compares, and goes by the length: names of all lengths in turn make it guess
//! wrong each time. Here each question has branches of its own, and asks mostly for the same lengths.

/// The same bytes. For texts of which most are shorter than some words; long ones cost more than `==`.
#[inline(always)]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match (one.last_chunk::<8>(), other.last_chunk::<8>()) {
        (Some(end), Some(other_end)) if end == other_end => {
            // The last word covers what the others leave.
            let (mut words, mut others) = (one.as_chunks::<8>().0, other.as_chunks::<8>().0);
            while let ([word, behind @ ..], [other, others_behind @ ..]) = (words, others) {
                if word != other {
                    return false;
                }
                (words, others) = (behind, others_behind);
            }
            true
        }
        (Some(_), _) => false,
        _ => is_same_below_word(one, other),
    }
}

/// Of texts that are as long as each other, below eight bytes: two halves that may overlap, else byte by byte.
#[inline(always)]
fn is_same_below_word(one: &[u8], other: &[u8]) -> bool {
    match (one.first_chunk::<4>(), other.first_chunk::<4>()) {
        (Some(start), Some(other_start)) => {
            start == other_start && one.last_chunk::<4>() == other.last_chunk::<4>()
        }
        _ => one.iter().zip(other).all(|(byte, other)| byte == other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_equality(text in "[ab]{0,40}", other in "[ab]{0,40}", at in 0usize..40) {
            let (text, other) = (text.as_bytes(), other.as_bytes());
            prop_assert_eq!(is_same(text, other), text == other);
            prop_assert!(is_same(text, text));
            let mut changed = text.to_vec();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 3;
            }
            prop_assert_eq!(is_same(text, &changed), at >= text.len());
        }
    }
}
