//! Criterion over the pure-Rust API: the rows of `benches/table.csv`, the loss, its gradient, its gradient in place.
//!
//! Before anything is timed the answer is held against the formula in double precision.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use xentrs::{
    Classes, Labels, Loss, Place, PointProblem, Problem, Real, Reduction, RowLoss, RowProblem, Rows, RowsIo,
    SigmoidCrossEntropy, SoftmaxCrossEntropy, SoftmaxFocalLoss, Storage, Targets, value, value_and_grad,
};

/// A row of the table.
struct Bench<'a> {
    loss: &'a str,
    shape: &'a str,
    rows: usize,
    classes: usize,
}

/// Numbers between -4 and 4 that look random and are the same in every run.
fn noise<T: Real>(len: usize) -> Vec<T> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        T::from_f64((state >> 40) as f64 / f64::from(1 << 21) - 4.0)
    };
    (0..len).map(|_| next()).collect()
}

fn scalar<T>(loss: xentrs::Result<Loss<T>>) -> f64 {
    match loss.expect("the table holds valid shapes") {
        Loss::Scalar(loss) => loss,
        Loss::Each(_) => unreachable!("a mean is one number"),
    }
}

fn time<T: Real + Storage<Real = T> + Place<T>>(
    c: &mut Criterion,
    bench: &Bench<'_>,
    data: &[T],
    problem: &impl Problem<T>,
    truth: f64,
) {
    let Bench { loss, shape, rows, classes } = *bench;
    let logits = Rows::new("logits", data, rows, classes).expect("one number a class");
    let ours = scalar(value(problem, logits, Reduction::Mean));
    assert!((ours / truth - 1.0).abs() < 1e-6, "{loss} {shape}: {ours}, not {truth}");

    let size = size_of::<T>() * rows * classes;
    let name = format!("{loss}/{}", std::any::type_name::<T>());
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(size as u64));
    group.bench_function(BenchmarkId::new("loss", shape), |b| {
        b.iter(|| scalar(value(problem, black_box(logits), Reduction::Mean)))
    });
    let mut grad = vec![T::ZERO; data.len()];
    group.throughput(Throughput::Bytes(2 * size as u64));
    group.bench_function(BenchmarkId::new("gradient", shape), |b| {
        b.iter(|| {
            let rows = RowsIo::new(black_box(logits), &mut grad).expect("as many gradients as logits");
            scalar(value_and_grad(problem, rows, Reduction::Mean))
        })
    });
    grad.copy_from_slice(data);
    group.bench_function(BenchmarkId::new("in place", shape), |b| {
        b.iter(|| {
            // From the second pass on these are gradients of gradients: other numbers, the same work.
            let rows = RowsIo::in_place(black_box(&mut grad), rows, classes).expect("one number a class");
            scalar(value_and_grad(problem, rows, Reduction::Mean))
        })
    });
    group.finish();
}

/// A loss of rows with classes, held against its formula, which is given `-ln p` of the class.
fn rows<T: Real + Storage<Real = T> + Place<T>>(
    c: &mut Criterion,
    bench: &Bench<'_>,
    loss: impl RowLoss<T>,
    formula: impl Fn(f64) -> f64,
) {
    let &Bench { rows, classes, .. } = bench;
    let logits: Vec<T> = noise(rows * classes);
    let labels: Vec<i64> = (0..rows).map(|i| ((i * 7919) % classes) as i64).collect();
    let truth = (0..rows).map(|i| {
        let z = logits[i * classes..][..classes].iter().map(|z| z.to_f64());
        formula(z.map(f64::exp).sum::<f64>().ln() - logits[i * classes + labels[i] as usize].to_f64())
    });
    let truth = truth.sum::<f64>() / rows as f64;
    let target = Classes::new(Labels::I64(&labels), classes, Some(-100)).expect("labels in range");
    let problem = RowProblem { loss, target: Targets::Classes(target), sample_weight: None };
    time(c, bench, &logits, &problem, truth);
}

fn softmax<T: Real + Storage<Real = T> + Place<T>>(c: &mut Criterion, bench: &Bench<'_>) {
    let loss = SoftmaxCrossEntropy::<T>::new(bench.classes, None, 0.0).expect("no options");
    rows(c, bench, loss, |cost| cost);
}

fn softmax_focal<T: Real + Storage<Real = T> + Place<T>>(c: &mut Criterion, bench: &Bench<'_>) {
    let loss = SoftmaxCrossEntropy::<T>::new(bench.classes, None, 0.0).expect("no options");
    let loss = SoftmaxFocalLoss::new(loss, 2.0).expect("a focus");
    rows(c, bench, loss, |cost| (-cost).exp_m1().powi(2) * cost);
}

fn sigmoid<T: Real + Storage<Real = T> + Place<T>>(c: &mut Criterion, bench: &Bench<'_>) {
    let points = bench.rows * bench.classes;
    let logits: Vec<T> = noise(points);
    let target: Vec<T> = (0..points).map(|i| if i % 3 == 0 { T::ONE } else { T::ZERO }).collect();
    let truth = logits.iter().zip(&target).map(|(x, t)| x.to_f64().exp().ln_1p() - t.to_f64() * x.to_f64());
    let truth = truth.sum::<f64>() / points as f64;
    let loss = SigmoidCrossEntropy::<T>::new(None).expect("no options");
    let problem = PointProblem { loss, target: &target, sample_weight: None };
    time(c, &Bench { rows: points, classes: 1, ..*bench }, &logits, &problem, truth);
}

fn table(c: &mut Criterion) {
    if cfg!(debug_assertions) {
        panic!("a debug build says nothing about speed: use `cargo bench`");
    }
    for line in include_str!("table.csv").lines().skip(1) {
        let [loss, shape, dtype, ..] = line.split(',').collect::<Vec<_>>()[..] else { panic!("not a row: {line}") };
        let (rows, classes) = shape.split_once('x').unwrap_or((shape, "1"));
        let number = |digits: &str| digits.parse().expect("a shape is made of numbers");
        let bench = Bench { loss, shape, rows: number(rows), classes: number(classes) };
        match (loss, dtype) {
            ("softmax_cross_entropy", "float32") => softmax::<f32>(c, &bench),
            ("softmax_cross_entropy", "float64") => softmax::<f64>(c, &bench),
            ("softmax_focal_loss", "float32") => softmax_focal::<f32>(c, &bench),
            ("sigmoid_cross_entropy", "float32") => sigmoid::<f32>(c, &bench),
            ("sigmoid_cross_entropy", "float64") => sigmoid::<f64>(c, &bench),
            _ => panic!("no such loss or type: {line}"),
        }
    }
}

criterion_group! {
    name = losses;
    // A tenth of criterion's patience: the whole table in minutes.
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = table
}
criterion_main!(losses);
