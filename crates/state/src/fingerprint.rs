//! Numbers made of texts that are the same on every machine and in every version of this program.

/// FNV-1a, 64 bit: its start value and its prime (draft-eastlake-fnv).
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// Crockford's base 32, lower case: no letter that is taken for a digit when read aloud.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 60 bits: with a million alerts the chance that two have the same name is about 4 in 10 million.
const NAME_LETTERS: u32 = 12;

/// A number for the texts, in their order; where one ends matters too.
pub(crate) fn fingerprint(texts: &[&str]) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    // 0xff is in no UTF-8 text.
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0xff]));
    mixed(bytes.fold(FNV_START, step))
}

/// A short name for the texts, which can be typed and read aloud.
pub(crate) fn name(texts: &[&str]) -> String {
    let number = fingerprint(texts);
    let letter = |n: u32| char::from(LETTERS[((number >> (64 - 5 * (n + 1))) & 31) as usize]);
    (0..NAME_LETTERS).map(letter).collect()
}

/// Spreads every bit over the whole number: the finaliser of MurmurHash3 (Appleby, `fmix64`).
fn mixed(mut number: u64) -> u64 {
    number ^= number >> 33;
    number = number.wrapping_mul(0xff51_afd7_ed55_8ccd);
    number ^= number >> 33;
    number = number.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn where_a_text_ends_matters() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_ne!(fingerprint(&["ab"]), fingerprint(&["ab", ""]));
    }

    #[test]
    fn names_are_short_and_differ() {
        let names: BTreeSet<String> = (0..10_000).map(|n| name(&["leaks", "zone_id=Z1", &n.to_string()])).collect();
        assert_eq!(names.len(), 10_000);
        assert!(names.iter().all(|name| name.len() == 12 && name.bytes().all(|b| LETTERS.contains(&b))));
    }
}
