//! Shamir's secret sharing over GF(2⁸) with the polynomial 0x11B, byte by byte.
//!
//! Our own because the coefficients must come in the order of the protocol's test vectors, which no library lets a caller
//! choose. Multiplication looks nothing up and does not branch on a secret; inversion is of public ids only.

use zeroize::Zeroizing;

use super::primitives::Secret;

/// The product in GF(2⁸).
fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    for _ in 0..8 {
        product ^= a & (b & 1).wrapping_neg();
        b >>= 1;
        a = (a << 1) ^ (0x1b & (a >> 7).wrapping_neg());
    }
    product
}

/// The inverse, `a²⁵⁴`; 0 for 0.
fn inverse(a: u8) -> u8 {
    let (mut power, mut product) = (a, 1);
    for _ in 1..8 {
        power = multiply(power, power);
        product = multiply(product, power);
    }
    product
}

/// The share of `x`: the value at `x` of the polynomials whose constant is the secret and whose other coefficients, lowest
/// first, are uniformly random.
pub(super) fn share(secret: &[u8; 32], coefficients: &[Secret], x: u8) -> Secret {
    let mut value = Zeroizing::new([0; 32]);
    for coefficient in coefficients.iter().rev().map(|c| &**c).chain([secret]) {
        for (value, coefficient) in value.iter_mut().zip(coefficient) {
            *value = multiply(*value, x) ^ coefficient;
        }
    }
    value
}

/// The secret of shares `(x, value)`, as many as the threshold: the value at 0 of the polynomial through them. The ids are
/// different and not 0.
pub(super) fn combine(shares: &[(u8, &[u8; 32])]) -> Secret {
    let mut secret = Zeroizing::new([0; 32]);
    for &(x, share) in shares {
        let others = shares.iter().map(|(other, _)| *other).filter(|other| *other != x);
        let weight = others.fold(1, |weight, other| multiply(weight, multiply(other, inverse(other ^ x))));
        for (secret, share) in secret.iter_mut().zip(share) {
            *secret ^= multiply(weight, *share);
        }
    }
    secret
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of FIPS 197, section 4.2.
    #[test]
    fn the_field_is_that_of_the_standard() {
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert!((1..=255).all(|a| multiply(a, inverse(a)) == 1));
    }

    proptest! {
        #[test]
        fn any_threshold_of_shares_gives_the_secret(
            secret in any::<[u8; 32]>(),
            coefficients in proptest::collection::vec(any::<[u8; 32]>(), 1..20),
            seed in any::<u64>(),
        ) {
            let coefficients: Vec<Secret> = coefficients.into_iter().map(Zeroizing::new).collect();
            let threshold = coefficients.len() + 1;
            let mut ids: Vec<u8> = (1..=255).collect();
            ids.sort_by_key(|id| u64::from(*id).wrapping_add(1).wrapping_mul(seed | 1));
            let shares: Vec<(u8, Secret)> =
                ids.iter().take(threshold).map(|&x| (x, share(&secret, &coefficients, x))).collect();
            let shares: Vec<(u8, &[u8; 32])> = shares.iter().map(|(x, share)| (*x, &**share)).collect();
            prop_assert_eq!(*combine(&shares), secret);
            // One fewer says nothing: it gives another value but by chance.
            prop_assert_ne!(*combine(&shares[1..]), secret);
        }
    }
}
