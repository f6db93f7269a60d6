//! All paths, with tiles of several sizes, against the loss of stored logits.

use super::*;
use crate::api::{PointNumbers, PointObjective, RowObjective, Targets};
use crate::losses::{SigmoidCrossEntropy, SoftmaxCrossEntropy};
use crate::parallel::with_num_threads;
use crate::view::{Classes, Labels};
use half::bf16;
use std::num::NonZero;

const SHAPE: [usize; 3] = [37, 19, 41];

/// Loss and gradients.
type Output<T> = (Vec<f64>, Vec<T>, Vec<T>, Vec<T>);

fn numbers(len: usize, seed: usize) -> Vec<f64> {
    (0..len).map(|i| (((i + seed) * 7919 % 1009) as f64 - 504.0) / 700.0).collect()
}

/// Which rows count in the tests: runs and single rows, but not the first row.
fn counts(row: usize) -> bool {
    row % 7 > 1 && row != 17
}

#[derive(Clone, Copy, Debug)]
enum Path {
    Blocks,
    /// Rows.
    Tiles(usize),
    /// Rows and classes.
    Strips(usize, usize),
}

fn run<S: Storage>(objective: &LinearObjective<'_, S>, reduction: Reduction, path: Path) -> Output<S::Real> {
    let ([n, d, c], isa) = (SHAPE, Isa::active().unwrap());
    let (mut x, mut weight, mut bias) = (vec![S::Real::NAN; n * d], vec![S::Real::NAN; c * d], vec![S::Real::NAN; c]);
    let divisor = divisor(objective.loss, isa, reduction, n, c);
    let loss = reduce(objective.loss, reduction, n, c, divisor, |each| {
        let grads = LinearGrads { x: Some(&mut x), weight: Some(&mut weight), bias: Some(&mut bias) };
        let objective = &objective.layer();
        let evaluation = Evaluation { objective, isa, scale: GradOutput::ONE.over(divisor), wants_grads: true };
        Ok(match path {
            Path::Blocks => evaluation.in_blocks(grads, each),
            Path::Tiles(most) => evaluation.in_tiles(most, grads, each),
            Path::Strips(rows, classes) => {
                let summed = objective.loss.summed().expect("a loss that follows from sums");
                evaluation.in_strips(summed, Strips { rows, classes }, grads, each)
            }
        })
    });
    let loss = match loss.unwrap() {
        Loss::Scalar(loss) => vec![loss],
        Loss::Each(each) => each.into_iter().map(S::Real::to_f64).collect(),
    };
    (loss, x, weight, bias)
}

/// Loss and gradients from stored logits, by plain loops in double precision.
fn stored(
    objective: &dyn Objective<f64>,
    x: &[f64],
    weight: &[f64],
    bias: &[f64],
    reduction: Reduction,
) -> Output<f64> {
    let [n, d, c] = SHAPE;
    let dot = |i: usize, k: usize| (0..d).map(|j| x[i * d + j] * weight[k * d + j]).sum::<f64>();
    let mut g: Vec<f64> = (0..n * c).map(|at| bias[at % c] + dot(at / c, at % c)).collect();
    let loss = super::super::value_and_grad(objective, RowsIo::over(&mut g, n, c), reduction, GradOutput::ONE).unwrap();
    let loss = match loss {
        Loss::Scalar(loss) => vec![loss],
        Loss::Each(each) => each,
    };
    let rows: Vec<_> = (0..n).filter(|&i| counts(i)).collect();
    let x_grad = (0..n * d).map(|at| (0..c).map(|k| g[at / d * c + k] * weight[k * d + at % d]).sum()).collect();
    let weight_grad = (0..c * d).map(|at| rows.iter().map(|i| g[i * c + at / d] * x[i * d + at % d]).sum()).collect();
    let bias_grad = (0..c).map(|k| rows.iter().map(|i| g[i * c + k]).sum()).collect();
    (loss, x_grad, weight_grad, bias_grad)
}

fn assert_close<T: Float>(got: &Output<T>, truth: &Output<f64>, tolerance: f64, note: &str) {
    let wide = |xs: &[T]| xs.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let pairs =
        [(got.0.clone(), &truth.0), (wide(&got.1), &truth.1), (wide(&got.2), &truth.2), (wide(&got.3), &truth.3)];
    for (what, (got, truth)) in pairs.into_iter().enumerate() {
        assert_eq!(got.len(), truth.len());
        for (i, (a, b)) in got.iter().zip(truth).enumerate() {
            assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{note}, {what} at {i}: {a} instead of {b}");
        }
    }
}

/// Inputs with NaN in the rows that do not count, and labels with these rows ignored.
fn inputs() -> (Vec<f64>, Vec<f64>, Vec<f64>, Vec<i64>) {
    let [n, d, c] = SHAPE;
    let mut x = numbers(n * d, 1);
    for (at, x) in x.iter_mut().enumerate() {
        // float16 and bfloat16 represent these numbers exactly.
        *x = bf16::from_f64(*x).to_f64();
        if !counts(at / d) {
            *x = f64::NAN;
        }
    }
    let weight = numbers(c * d, 2).into_iter().map(|w| bf16::from_f64(w).to_f64()).collect();
    let labels = (0..n).map(|i| if counts(i) { (i * 5 % c) as i64 } else { -100 }).collect();
    (x, weight, numbers(c, 3), labels)
}

const ROADS: [Path; 7] =
    [Path::Blocks, Path::Tiles(1), Path::Tiles(2), Path::Tiles(5), Path::Tiles(16), Path::Tiles(27), Path::Tiles(64)];

#[test]
fn blocks_and_tiles_agree_with_stored_logits() {
    let ([n, d, c], (x, weight, bias, labels)) = (SHAPE, inputs());
    let classes = Classes::new(Labels::I64(&labels), c, Some(-100)).unwrap();
    let target = Targets::Classes(classes);
    let loss = SoftmaxCrossEntropy::new(c, None, 0.1).unwrap();
    let exact = RowObjective { loss, target, sample_weight: None };
    let (x32, w32): (Vec<_>, Vec<_>) =
        (x.iter().map(|&x| x as f32).collect(), weight.iter().map(|&w| w as f32).collect());
    let (x16, w16): (Vec<_>, Vec<_>) =
        (x.iter().map(|&x| bf16::from_f64(x)).collect(), weight.iter().map(|&w| bf16::from_f64(w)).collect());
    let b32: Vec<_> = bias.iter().map(|&b| b as f32).collect();
    let loss = SoftmaxCrossEntropy::new(c, None, 0.1).unwrap();
    let single = RowObjective::<f32, _> { loss, target: Targets::Classes(classes), sample_weight: None };
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        let truth = stored(&exact, &x, &weight, &bias, reduction);
        for path in ROADS {
            let note = format!("{reduction:?} {path:?}");
            let objective = LinearObjective {
                loss: &exact,
                x: Rows::packed(&x, n, d),
                weight: Rows::packed(&weight, c, d),
                bias: Some(&bias),
            };
            assert_close(&run(&objective, reduction, path), &truth, 1e-13, &note);
            let (x, weight) = (Rows::packed(&x32, n, d), Rows::packed(&w32, c, d));
            let objective = LinearObjective { loss: &single, x, weight, bias: Some(&b32) };
            let plain = run(&objective, reduction, path);
            assert_close(&plain, &truth, 1e-5, &note);
            let (x, weight) = (Rows::packed(&x16, n, d), Rows::packed(&w16, c, d));
            let half = run(&LinearObjective { loss: &single, x, weight, bias: Some(&b32) }, reduction, path);
            assert_eq!(half, plain, "{note}: a half that is widened is the same number");
        }
    }
}

#[test]
fn independent_labels_are_left_out_by_rows() {
    let ([n, d, c], (x, weight, bias, _)) = (SHAPE, inputs());
    let target: Vec<_> =
        (0..n * c).map(|at| if counts(at / c) && at % 11 != 0 { f64::from(at as u8 % 2) } else { -1.0 }).collect();
    let loss = SigmoidCrossEntropy::new(Some(&numbers(c, 9).iter().map(|w| w.abs()).collect::<Vec<_>>()), 0.0).unwrap();
    let exact = PointObjective { loss, target: PointNumbers::Real(&target), sample_weight: None, ignored: Some(-1.0) };
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        let truth = stored(&exact, &x, &weight, &bias, reduction);
        for path in ROADS {
            let (x, weight) = (Rows::packed(&x, n, d), Rows::packed(&weight, c, d));
            let objective = LinearObjective { loss: &exact, x, weight, bias: Some(&bias) };
            assert_close(&run(&objective, reduction, path), &truth, 1e-13, &format!("{reduction:?} {path:?}"));
        }
    }
}

const STRIPS: [Path; 6] = [
    Path::Strips(1, 1),
    Path::Strips(2, 7),
    Path::Strips(5, 40),
    Path::Strips(16, 41),
    Path::Strips(27, 13),
    Path::Strips(64, 1000),
];

#[test]
fn strips_agree_with_stored_logits() {
    let ([n, d, c], (x, weight, bias, labels)) = (SHAPE, inputs());
    let target = Targets::Classes(Classes::new(Labels::I64(&labels), c, Some(-100)).unwrap());
    let class_weight: Vec<_> = numbers(c, 4).into_iter().map(|w| w.abs() * f64::from(w > -0.3)).collect();
    let sample_weight: Vec<_> = numbers(n, 5).into_iter().map(f64::abs).collect();
    let (x16, w16): (Vec<_>, Vec<_>) =
        (x.iter().map(|&x| bf16::from_f64(x)).collect(), weight.iter().map(|&w| bf16::from_f64(w)).collect());
    let b32: Vec<_> = bias.iter().map(|&b| b as f32).collect();
    for (weights, samples) in [(None, None), (Some(&class_weight[..]), None), (None, Some(&sample_weight[..]))] {
        let loss = SoftmaxCrossEntropy::new(c, weights, 0.0).unwrap();
        let exact = RowObjective { loss, target, sample_weight: samples };
        let loss = SoftmaxCrossEntropy::new(c, None, 0.0).unwrap();
        let single = RowObjective {
            loss,
            target: Targets::Classes(Classes::new(Labels::I64(&labels), c, Some(-100)).unwrap()),
            sample_weight: None,
        };
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
            let truth = stored(&exact, &x, &weight, &bias, reduction);
            for path in STRIPS {
                let note = format!("{reduction:?} {path:?}");
                let (x, weight) = (Rows::packed(&x, n, d), Rows::packed(&weight, c, d));
                let objective = LinearObjective { loss: &exact, x, weight, bias: Some(&bias) };
                assert_close(&run(&objective, reduction, path), &truth, 1e-13, &note);
                if weights.is_none() && samples.is_none() {
                    let (x, weight) = (Rows::packed(&x16, n, d), Rows::packed(&w16, c, d));
                    let objective = LinearObjective { loss: &single, x, weight, bias: Some(&b32) };
                    assert_close(&run(&objective, reduction, path), &truth, 1e-5, &note);
                }
            }
        }
    }
}

/// Biases that give tiles of -inf alone, infinite logits, rows of -inf alone, and confident rows.
#[test]
fn strips_handle_the_special_values() {
    let ([n, d, c], (x, weight, _, labels)) = (SHAPE, inputs());
    let target = Targets::Classes(Classes::new(Labels::I64(&labels), c, Some(-100)).unwrap());
    let objective = RowObjective { loss: SoftmaxCrossEntropy::new(c, None, 0.0).unwrap(), target, sample_weight: None };
    let (x, weight) = (Rows::packed(&x, n, d), Rows::packed(&weight, c, d));
    type Bias = fn(usize) -> f64;
    let biases: [(&str, Bias); 5] = [
        ("ruled out", |k| if k < 14 || k % 3 == 0 { -f64::INFINITY } else { 0.0 }),
        ("one infinite", |k| if k == 20 { f64::INFINITY } else { 0.0 }),
        ("several infinite", |k| if k % 20 == 5 { f64::INFINITY } else { 0.0 }),
        ("none left", |_| -f64::INFINITY),
        ("confident", |k| if k == 10 { 300.0 } else { -20.0 * k as f64 }),
    ];
    for (name, bias) in biases {
        let bias: Vec<_> = (0..c).map(bias).collect();
        let objective = LinearObjective { loss: &objective, x, weight, bias: Some(&bias) };
        let truth = run(&objective, Reduction::None, Path::Tiles(5));
        for path in STRIPS {
            let got = run(&objective, Reduction::None, path);
            for (got, truth) in [(&got.0, &truth.0), (&got.3, &truth.3)] {
                let same = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs() || a == b || (a.is_nan() && b.is_nan());
                assert!(got.iter().zip(truth).all(|(&a, &b)| same(a, b)), "{name} {path:?}: {got:?} {truth:?}");
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for [n, d, c] in [[700, 90, 10], [900, 60, 70], [300, 30, 6000]] {
        let (x, weight, bias) = (numbers(n * d, 1), numbers(c * d, 2), numbers(c, 3));
        let labels: Vec<_> = (0..n).map(|i| (i % c) as i64).collect();
        let target = Targets::Classes(Classes::new(Labels::I64(&labels), c, None).unwrap());
        let loss = RowObjective { loss: SoftmaxCrossEntropy::new(c, None, 0.0).unwrap(), target, sample_weight: None };
        let (x, weight) = (Rows::packed(&x, n, d), Rows::packed(&weight, c, d));
        let objective = LinearObjective { loss: &loss, x, weight, bias: Some(&bias) };
        let result = |threads: usize| {
            with_num_threads(NonZero::new(threads).unwrap(), || {
                let (mut x, mut weight, mut bias) = (vec![0.0; n * d], vec![0.0; c * d], vec![0.0; c]);
                let grads = LinearGrads { x: Some(&mut x), weight: Some(&mut weight), bias: Some(&mut bias) };
                (linear_value_and_grads(&objective, grads, Reduction::Mean, GradOutput::ONE).unwrap(), x, weight, bias)
            })
        };
        let alone = result(1);
        for threads in [2, 3, 7] {
            assert_eq!(result(threads), alone, "{threads} threads, {n} x {d} x {c}");
        }
    }
}

#[test]
fn wrong_shapes_are_refused_and_nothing_is_written() {
    let ([n, d, c], (x, weight, bias, labels)) = (SHAPE, inputs());
    let target = Targets::Classes(Classes::new(Labels::I64(&labels), c, Some(-100)).unwrap());
    let loss = RowObjective { loss: SoftmaxCrossEntropy::new(c, None, 0.0).unwrap(), target, sample_weight: None };
    let (rows, weights) = (Rows::packed(&x, n, d), Rows::packed(&weight, c, d));
    let whole = LinearObjective { loss: &loss, x: rows, weight: weights, bias: None };
    let message = |objective: LinearObjective<'_, f64>, len: usize| {
        let mut grad = vec![7.0; len];
        let grads = LinearGrads { weight: Some(&mut grad), ..LinearGrads::default() };
        let error = linear_value_and_grads(&objective, grads, Reduction::Mean, GradOutput::ONE).unwrap_err();
        assert!(grad.iter().all(|&g| g == 7.0));
        error.to_string()
    };
    let narrow = Rows::packed(&weight[..c * (d - 1)], c, d - 1);
    assert_eq!(
        message(LinearObjective { weight: narrow, ..whole }, c * (d - 1)),
        "weight must have shape (41, 19), got (41, 18)"
    );
    assert_eq!(
        message(LinearObjective { bias: Some(&bias[1..]), ..whole }, c * d),
        "bias must have shape (41,), got (40,)"
    );
    assert_eq!(message(whole, 5), "grad_weight must have shape (779,), got (5,)");
    let short = LinearObjective { x: Rows::packed(&x[..d], 1, d), ..whole };
    assert_eq!(message(short, c * d), "target must have shape (1,), got (37,)");
}
