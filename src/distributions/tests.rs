//! Every class_sum, from probabilities and from logits, on every instruction set, beside ten lines of float64.

use super::{AnyClassSum, CrossEntropy, Entropy, JsDivergence, KlDivergence, logits, probabilities, with_class_sum};
use crate::math::Real;
use crate::simd::{Float, Isa, Kernel, RowIo, Simd, inlined};

/// Values and gradients to probabilities and to logits, as the formulas have them.
struct Oracle {
    value: f64,
    slopes: [Vec<f64>; 2],
}

fn oracle(p: &[f64], q: &[f64], value: fn(f64, f64) -> f64, slopes: fn(f64, f64) -> [f64; 2]) -> Oracle {
    let each = |k: usize| p.iter().zip(q).map(|(&p, &q)| slopes(p, q)[k]).collect();
    Oracle { value: p.iter().zip(q).map(|(&p, &q)| value(p, q)).sum(), slopes: [each(0), each(1)] }
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = z.iter().map(|z| (z - max).exp()).sum();
    z.iter().map(|z| (z - max).exp() / sum).collect()
}

/// Both functions of a row: the two values, and the gradients.
struct Row<'a, T>(AnyClassSum, &'a [T], &'a [T], bool);

impl<T: Real> Kernel<T> for Row<'_, T> {
    type Output = ([f64; 2], Vec<T>, Vec<T>);
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Self::Output {
        let Row(class_sum, p, q, is_logits) = self;
        let (mut p_grad, mut q_grad) = (vec![T::NAN; p.len()], vec![T::ZERO; q.len()]);
        let (mut p_io, mut q_io) = (RowIo::new(p, &mut p_grad), RowIo::new(q, &mut q_grad));
        let q_io = class_sum.is_pair().then_some(&mut q_io);
        let values = if is_logits {
            [logits::value(s, class_sum, p, q), logits::value_and_grad(s, class_sum, &mut p_io, q_io)]
        } else {
            let (alone, both) = with_class_sum!(s, class_sum, class_sum => (
                probabilities::value(s, class_sum, p, q),
                probabilities::value_and_grad(s, class_sum, &mut p_io, q_io),
            ));
            assert!(!alone.negative && !both.negative);
            assert!(alone.sums.iter().chain(&both.sums).all(|sum| (sum - 1.0).abs() < 1e-5), "{:?}", alone.sums);
            [alone.value, both.value]
        };
        (values, p_grad, q_grad)
    }
}

fn check(name: &str, class_sum: AnyClassSum, value: fn(f64, f64) -> f64, slopes: fn(f64, f64) -> [f64; 2]) {
    for c in (1..70).chain([1000, 1024, 1025, 3000]) {
        let z: Vec<f64> = (0..c).map(|k| f64::from(((k * 7919 % 1009) as f32) * 0.007 - 3.0)).collect();
        let y: Vec<f64> = (0..c).map(|k| f64::from(((k * 104_729 % 997) as f32) * 0.006 - 2.0)).collect();
        let (p, q) = (softmax(&z), softmax(&y));
        let truth = oracle(&p, &q, value, slopes);
        for isa in Isa::available() {
            for is_logits in [false, true] {
                let case = format!("{name} c={c} logits={is_logits} {}", isa.name());
                let (a, b) = if is_logits { (&z, &y) } else { (&p, &q) };
                compare(&truth, [&p, &q], f64::dispatch(isa, Row(class_sum, a, b, is_logits)), is_logits, 1e-14, &case);
                let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<_>>();
                let (a, b) = (narrow(a), narrow(b));
                let (values, p_grad, q_grad) = f32::dispatch(isa, Row(class_sum, &a, &b, is_logits));
                let wide = |x: Vec<f32>| x.into_iter().map(f64::from).collect::<Vec<_>>();
                let found = (values, wide(p_grad), wide(q_grad));
                // The rounding of the probabilities themselves counts too.
                compare(&truth, [&p, &q], found, is_logits, 3e-6, &case);
            }
        }
    }
}

fn compare(
    truth: &Oracle,
    rows: [&[f64]; 2],
    (values, p_grad, q_grad): ([f64; 2], Vec<f64>, Vec<f64>),
    is_logits: bool,
    rtol: f64,
    case: &str,
) {
    let [alone, both] = values;
    assert!((alone - truth.value).abs() <= rtol * (1.0 + truth.value), "{case}: {alone} {}", truth.value);
    assert_eq!(alone.to_bits(), both.to_bits(), "{case}: {alone} {both}");
    for ((grad, slopes), row) in [p_grad, q_grad].iter().zip(&truth.slopes).zip(rows) {
        let mean: f64 = row.iter().zip(slopes).map(|(p, slope)| p * slope).sum();
        for (k, (&grad, &slope)) in grad.iter().zip(slopes).enumerate() {
            let (truth, size) = if is_logits {
                (row[k] * (slope - mean), row[k] * (slope.abs() + mean.abs() + 1.0))
            } else {
                (slope, slope.abs() + 1.0)
            };
            assert!((grad - truth).abs() <= 4.0 * rtol * size, "{case} k={k}: {grad} {truth}");
        }
    }
}

#[test]
fn entropy_is_what_its_formula_says() {
    check("entropy", AnyClassSum::Entropy(Entropy), |p, _| -p * p.ln(), |p, _| [-p.ln() - 1.0, 0.0]);
}

#[test]
fn cross_entropy_is_what_its_formula_says() {
    check("cross_entropy", AnyClassSum::CrossEntropy(CrossEntropy), |p, q| -p * q.ln(), |p, q| [-q.ln(), -p / q]);
}

#[test]
fn kl_divergence_is_what_its_formula_says() {
    check(
        "kl",
        AnyClassSum::KlDivergence(KlDivergence),
        |p, q| p * (p / q).ln() - p + q,
        |p, q| [(p / q).ln(), 1.0 - p / q],
    );
}

#[test]
fn js_divergence_is_what_its_formula_says() {
    let js = |p: f64, q: f64| {
        let m = 0.25 * p + 0.75 * q;
        0.25 * p * (p / m).ln() + 0.75 * q * (q / m).ln()
    };
    let slopes = |p: f64, q: f64| {
        let m = 0.25 * p + 0.75 * q;
        [0.25 * (p / m).ln(), 0.75 * (q / m).ln()]
    };
    check("js", AnyClassSum::JsDivergence(JsDivergence::new(0.25)), js, slopes);
}

#[test]
fn equal_rows_are_at_distance_zero_and_one_step_apart_at_its_square() {
    for isa in Isa::available() {
        let z: Vec<f32> = (0..37).map(|k| (k % 7) as f32 - 3.0).collect();
        for is_logits in [true, false] {
            let wide: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
            let p: Vec<f32> = softmax(&wide).iter().map(|&p| p as f32).collect();
            let row = if is_logits { &z } else { &p };
            let (values, p_grad, q_grad) =
                f32::dispatch(isa, Row(AnyClassSum::KlDivergence(KlDivergence), row, row, is_logits));
            assert_eq!(values, [0.0; 2], "{}", isa.name());
            assert!(p_grad.iter().chain(&q_grad).all(|&grad| grad == 0.0), "{}", isa.name());
        }
        let step = f64::from(f32::EPSILON);
        let (z, y) = ([1.0f32, 1.0], [1.0 + f32::EPSILON, 1.0]);
        let ([value, _], ..) = f32::dispatch(isa, Row(AnyClassSum::KlDivergence(KlDivergence), &z, &y, true));
        assert!((value / (step * step / 8.0) - 1.0).abs() < 1e-6, "{}: {value:e}", isa.name());
    }
}
