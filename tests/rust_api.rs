//! The Rust API as a Rust user calls it, without Python.

use proptest::prelude::*;
use xentrs::{
    BinaryCrossEntropy, CategoricalCrossEntropy, Classes, ColumnPlaces, Columns, Decay, Dispersion, Epoch, Error,
    Fault, Function, GaussianNll, GaussianObjective, GradOutput, Groups, HessOptions, Labels, LinearGrads,
    LinearObjective, Link, Loss, Measure, MeasureInput, MeasureKind, Momentum, Objective, Parameters, PointNumbers,
    PointObjective, Reduction, RowObjective, Rows, RowsIo, SigmoidCrossEntropy, SoftmaxCrossEntropy, SoftmaxFocalLoss,
    Sparse, Storage, Targets, TokenObjective, Variable, apply, gaussian_value_and_grads, linear_value_and_grads,
    logsumexp, measure_value, measure_value_and_grads, parity_penalty, parity_penalty_with_grad, softmax_stats, value,
    value_and_grad, value_by_column, value_grad_hess,
};

type Softmax<'a> = RowObjective<'a, f64, SoftmaxCrossEntropy<'a, f64>>;

fn softmax<'a>(labels: &'a [i64], classes: usize) -> Softmax<'a> {
    RowObjective {
        loss: SoftmaxCrossEntropy::new(classes, None, 0.0).unwrap(),
        target: Targets::Classes(Classes::new(Labels::I64(labels), classes, Some(-100)).unwrap()),
        sample_weight: None,
    }
}

fn scalar<T: std::fmt::Debug>(loss: Loss<T>) -> f64 {
    match loss {
        Loss::Scalar(loss) => loss,
        Loss::Each(losses) => panic!("a scalar was asked for, not {losses:?}"),
    }
}

#[test]
fn the_mean_is_the_sum_over_the_rows_that_count() {
    let logits = [1.0, 2.0, 3.0, 0.5, -0.5, 0.0, f64::NAN, 0.0, 0.0];
    let rows = Rows::new("logits", &logits, 3, 3).unwrap();
    let objective = softmax(&[2, 0, -100], 3);
    let sum = scalar(value(&objective, rows, Reduction::Sum).unwrap());
    let mean = scalar(value(&objective, rows, Reduction::Mean).unwrap());
    assert!((mean - sum / 2.0).abs() < 1e-15);
    let Loss::Each(each) = value(&objective, rows, Reduction::None).unwrap() else { panic!("one loss a row") };
    assert_eq!(each[2], 0.0);
    assert!((each[0] + each[1] - sum).abs() < 1e-15);
}

#[test]
fn the_gradient_in_place_is_the_gradient_beside() {
    let logits: Vec<f64> = (0..70).map(|i| f64::from(i % 13) * 0.7 - 3.0).collect();
    let labels: Vec<i64> = (0..7).collect();
    let mut beside = vec![0.0; 70];
    let rows = Rows::new("logits", &logits, 7, 10).unwrap();
    let objective = softmax(&labels, 10);
    let one =
        value_and_grad(&objective, RowsIo::new(rows, &mut beside).unwrap(), Reduction::Mean, GradOutput::ONE).unwrap();
    let mut over = logits.clone();
    let two = value_and_grad(&objective, RowsIo::in_place(&mut over, 7, 10).unwrap(), Reduction::Mean, GradOutput::ONE)
        .unwrap();
    assert_eq!(one, two);
    assert_eq!(beside, over);
}

#[test]
fn rows_may_stand_apart() {
    let wide = [1.0, 2.0, 9.0, 9.0, 3.0, 5.0];
    let apart = Rows::with_stride("logits", &wide, 2, 2, 4).unwrap();
    let tight = Rows::new("logits", &[1.0, 2.0, 3.0, 5.0], 2, 2).unwrap();
    let objective = softmax(&[0, 1], 2);
    assert_eq!(value(&objective, apart, Reduction::Sum), value(&objective, tight, Reduction::Sum));
}

#[test]
fn no_rows_a_class_at_a_time_have_no_loss() {
    let columns = Columns::new(&[], 0, 2).unwrap();
    let places = || ColumnPlaces::Same(&mut []);
    for (reduction, loss) in [(Reduction::Sum, Loss::Scalar(0.0)), (Reduction::None, Loss::Each(vec![]))] {
        let hess = Some((places(), HessOptions::EXACT));
        let ours = value_by_column(&softmax(&[], 2), columns, Some(places()), hess, reduction, GradOutput::ONE);
        assert_eq!(ours, Ok(Some(loss)));
    }
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_written() {
    let wrong = Classes::new(Labels::I32(&[0, 3]), 3, Some(-100)).unwrap_err();
    assert_eq!(wrong, Error::Label { label: 3, row: 1, classes: 3, ignore_index: Some(-100) });
    assert!(matches!(Rows::new("logits", &[0.0; 5], 2, 3), Err(Error::Shape { .. })));
    assert!(matches!(SoftmaxCrossEntropy::<f32>::new(3, None, 1.5), Err(Error::Parameter { .. })));
    assert!(matches!(SoftmaxCrossEntropy::new(2, Some(&[1.0, -1.0]), 0.0), Err(Error::Value { index: 1, .. })));

    let logits = [0.0; 4];
    let mut grad = [7.0; 4];
    let rows = Rows::new("logits", &logits, 2, 2).unwrap();
    let objective = RowObjective { sample_weight: Some(&[1.0, f64::NAN]), ..softmax(&[0, 1], 2) };
    let refused = value_and_grad(&objective, RowsIo::new(rows, &mut grad).unwrap(), Reduction::Sum, GradOutput::ONE);
    assert!(matches!(refused, Err(Error::Value { name: "sample_weight", index: 1, .. })));
    assert_eq!(grad, [7.0; 4]);
}

#[test]
fn a_bad_target_is_found_before_a_place_that_is_kept_is_written() {
    let (logits, target) = ([0.5; 40], [0.0, 1.0, 2.0, 1.0].repeat(10));
    let rows = Rows::new("logits", &logits, 40, 1).unwrap();
    let loss = SigmoidCrossEntropy::new(None, 0.0).unwrap();
    let objective = PointObjective { loss, target: PointNumbers::Real(&target), sample_weight: None, ignored: None };
    let bad = Error::Value { name: "target", expected: "in [0, 1]", got: 2.0, index: 2 };
    assert_eq!(value(&objective, rows, Reduction::Sum), Err(bad.clone()));
    let (mut grad, mut hess) = ([7.0; 40], [7.0; 40]);
    for fresh in [false, true] {
        let io = RowsIo::new(rows, &mut grad).unwrap().fresh(fresh);
        assert_eq!(value_grad_hess(&objective, io, &mut hess, Reduction::Mean, HessOptions::EXACT), Err(bad.clone()));
        let io = RowsIo::new(rows, &mut grad).unwrap().fresh(fresh);
        assert_eq!(value_and_grad(&objective, io, Reduction::Mean, GradOutput::ONE), Err(bad.clone()));
        // One pass, where nobody sees what it has written; none before that, where somebody would.
        assert_eq!(grad == [7.0; 40] && hess == [7.0; 40], !fresh);
    }
    let ignoring = PointObjective { ignored: Some(2.0), ..objective };
    let kept = scalar(value(&ignoring, rows, Reduction::Sum).unwrap());
    assert!((scalar(value(&ignoring, rows, Reduction::Mean).unwrap()) - kept / 30.0).abs() < 1e-15);
    let short = value_grad_hess(
        &ignoring,
        RowsIo::new(rows, &mut grad).unwrap(),
        &mut hess[1..],
        Reduction::Sum,
        HessOptions::EXACT,
    );
    assert!(matches!(short, Err(Error::Shape { name: "hess", .. })));
}

#[test]
fn nothing_left_to_average_is_zero() {
    let mut grad = [7.0; 4];
    let rows = Rows::new("logits", &[f64::NAN; 4], 2, 2).unwrap();
    let objective = softmax(&[-100, -100], 2);
    let loss =
        value_and_grad(&objective, RowsIo::new(rows, &mut grad).unwrap(), Reduction::Mean, GradOutput::ONE).unwrap();
    assert_eq!((scalar(loss), grad), (0.0, [0.0; 4]));
}

#[test]
fn sigmoid_cross_entropy_is_softmax_cross_entropy_of_two_classes() {
    let x: Vec<f64> = (0..999).map(|i| f64::from(i) * 0.1 - 50.0).collect();
    let t: Vec<f64> = (0..999).map(|i| f64::from(i % 2)).collect();
    let two: Vec<f64> = x.iter().flat_map(|&x| [0.0, x]).collect();
    let labels: Vec<i64> = (0..999).map(|i| i % 2).collect();
    let points = PointObjective {
        loss: SigmoidCrossEntropy::new(None, 0.0).unwrap(),
        target: PointNumbers::Real(&t),
        sample_weight: None,
        ignored: None,
    };
    let ours = scalar(value(&points, Rows::new("logits", &x, 999, 1).unwrap(), Reduction::Mean).unwrap());
    let rows = Rows::new("logits", &two, 999, 2).unwrap();
    let softmax = scalar(value(&softmax(&labels, 2), rows, Reduction::Mean).unwrap());
    assert!((ours / softmax - 1.0).abs() < 1e-14, "{ours} {softmax}");
}

#[test]
fn a_weight_a_label_repeats_from_row_to_row() {
    for labels in [1, 2, 3, 5, 16, 17, 40] {
        let n = labels * 23;
        let x: Vec<f64> = (0..n).map(|i| (i % 11) as f64 - 5.0).collect();
        let beta: Vec<f64> = (0..labels).map(|k| 1.0 + k as f64).collect();
        let loss = SigmoidCrossEntropy::new(Some(&beta), 0.0).unwrap();
        let points =
            PointObjective { loss, target: PointNumbers::Real(&vec![1.0; n]), sample_weight: None, ignored: None };
        let rows = Rows::new("logits", &x, 23, labels).unwrap();
        let Loss::Each(each) = value(&points, rows, Reduction::None).unwrap() else { panic!("one loss a point") };
        for (i, loss) in each.into_iter().enumerate() {
            let truth = beta[i % labels] * (-x[i]).exp().ln_1p();
            assert!((loss / truth - 1.0).abs() < 1e-14, "{labels} labels, point {i}: {loss} {truth}");
        }
    }
}

#[test]
fn functions_point_by_point() {
    let x: Vec<f64> = (0..199).map(|i| f64::from(i) * 0.37 - 30.0).collect();
    type Case = (Function, fn(f64) -> f64);
    let cases: [Case; 7] = [
        (Function::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        (Function::LogSigmoid, |x| -(-x).exp().ln_1p()),
        (Function::Softplus, |x| x.exp().ln_1p()),
        (Function::Tanh, f64::tanh),
        (Function::Exp, f64::exp),
        (Function::Ln, f64::ln),
        (Function::Log1p, f64::ln_1p),
    ];
    for (function, truth) in cases {
        let mut y = vec![0.0_f64; x.len()];
        apply(function, RowsIo::new(Rows::new("x", &x, 1, x.len()).unwrap(), &mut y).unwrap()).unwrap();
        for (&x, &y) in x.iter().zip(&y) {
            let truth = truth(x);
            let same = y.is_nan() && truth.is_nan() || (y - truth).abs() <= 1e-14 * truth.abs();
            assert!(same, "{function:?} at {x}: {y}, not {truth}");
        }
    }
}

proptest! {
    #[test]
    fn losses_are_not_negative_and_gradients_sum_to_zero(
        logits in prop::collection::vec(-700.0..700.0f64, 1..200),
        pick in any::<prop::sample::Index>(),
    ) {
        let c = logits.len();
        let label = [pick.index(c) as i64];
        let mut grad = vec![f64::NAN; c];
        let rows = Rows::new("logits", &logits, 1, c).unwrap();
        let objective = softmax(&label, c);
        let io = RowsIo::new(rows, &mut grad).unwrap();
        let loss = scalar(value_and_grad(&objective, io, Reduction::Sum, GradOutput::ONE).unwrap());
        prop_assert!(loss >= 0.0 && loss.is_finite());
        let scale: f64 = grad.iter().map(|g| g.abs()).sum();
        prop_assert!(grad.iter().sum::<f64>().abs() <= 1e-15 * scale * c as f64);
    }

    #[test]
    fn softmax_log_softmax_and_logsumexp_agree(logits in prop::collection::vec(-50.0..50.0f64, 1..100)) {
        let c = logits.len();
        let rows = Rows::new("x", &logits, 1, c).unwrap();
        let (mut p, mut log_p, mut lse) = (vec![0.0_f64; c], vec![0.0_f64; c], [0.0]);
        apply(Function::Softmax, RowsIo::new(rows, &mut p).unwrap()).unwrap();
        apply(Function::LogSoftmax, RowsIo::new(rows, &mut log_p).unwrap()).unwrap();
        logsumexp(rows, &mut lse).unwrap();
        for k in 0..c {
            prop_assert!((p[k] / log_p[k].exp() - 1.0).abs() < 1e-13);
            prop_assert!((log_p[k] - (logits[k] - lse[0])).abs() < 1e-13);
        }
    }
}

#[test]
fn one_distribution_is_held_against_many() {
    let (one, many) = ([0.5, 0.5], [0.5, 0.5, 0.25, 0.75, 0.125, 0.875]);
    let kl = Measure::new(MeasureKind::KlDivergence, MeasureInput::Probabilities, None).unwrap();
    let p = Rows::with_stride("p", &one, 3, 2, 0).unwrap();
    let q = Rows::new("q", &many, 3, 2).unwrap();
    let (mut values, mut alone) = ([7.0; 3], [7.0; 3]);
    let (mut p_grad, mut q_grad) = ([7.0; 2], [7.0; 6]);
    let (p_place, q_place) = (Variable { rows: p, grad: &mut p_grad }, Variable { rows: q, grad: &mut q_grad });
    measure_value_and_grads(&kl, p_place, Some(q_place), &mut values, GradOutput::ONE).unwrap();
    measure_value(&kl, p, Some(q), &mut alone).unwrap();
    assert_eq!(values, alone);
    for (i, value) in values.into_iter().enumerate() {
        let truth: f64 = (0..2).map(|k| 0.5 * (0.5f64 / many[2 * i + k]).ln()).sum();
        assert!((value - truth).abs() < 1e-15, "row {i}: {value} {truth}");
    }
    for k in 0..2 {
        let truth: f64 = (0..3).map(|i| (0.5f64 / many[2 * i + k]).ln()).sum();
        assert!((p_grad[k] - truth).abs() < 1e-14, "class {k}: {} {truth}", p_grad[k]);
    }
}

#[test]
fn the_first_row_that_is_no_distribution_is_named() {
    let p = [1.0, 0.0, 0.5, 0.25, -1.0, 2.0];
    let rows = Rows::new("p", &p, 3, 2).unwrap();
    let ask = |form| measure_value(&Measure::new(MeasureKind::Entropy, form, None).unwrap(), rows, None, &mut [0.0; 3]);
    let refused = ask(MeasureInput::Probabilities).unwrap_err();
    assert_eq!(refused, Error::Distribution { name: "p", row: 1, fault: Fault::Sum(0.75) });
    let message = "p must sum to 1, got 0.75 at row 1, off by -2.50e-1; normalize=True divides each row by its sum";
    assert_eq!(refused.to_string(), message);
    let refused = ask(MeasureInput::Unnormalized).unwrap_err();
    assert_eq!(refused.to_string(), "p must be non-negative, got -1.0 at row 2, class 0");
    assert_eq!(ask(MeasureInput::Logits), Ok(()));
    assert!(matches!(
        Measure::new(MeasureKind::Entropy, MeasureInput::Logits, Some(1.0)),
        Err(Error::Parameter { .. })
    ));
    let two = Measure::new(MeasureKind::CrossEntropy, MeasureInput::Logits, None).unwrap();
    assert!(matches!(measure_value(&two, rows, None, &mut [0.0; 3]), Err(Error::Shape { name: "q", .. })));
}

#[test]
fn a_gaussian_has_two_gradients() {
    let (mean, target, var) = ([0.0, 1.0, 2.0], [0.0, 3.0, 1.0], [1.0, 2.0, 4.0]);
    let loss = GaussianNll { dispersion: Dispersion::Variance, full: false };
    let (target, dispersion) = (PointNumbers::Real(&target), PointNumbers::Real(&var));
    let objective = GaussianObjective { loss, target, dispersion, sample_weight: None };
    let (mut grad, mut var_grad) = ([7.0; 3], [7.0; 3]);
    let io = RowsIo::new(Rows::new("mean", &mean, 3, 1).unwrap(), &mut grad).unwrap();
    let sum = scalar(gaussian_value_and_grads(&objective, io, &mut var_grad, Reduction::Sum, GradOutput::ONE).unwrap());
    let truth = 0.5 * 8f64.ln() + 0.5 * (4.0 / 2.0 + 1.0 / 4.0);
    assert!((sum - truth).abs() < 1e-15, "{sum} {truth}");
    assert_eq!(grad, [0.0, -1.0, 0.25]);
    assert_eq!(var_grad, [0.5, 0.5 * (1.0 - 2.0) / 2.0, 0.5 * (1.0 - 0.25) / 4.0]);
    let refused = GaussianObjective { dispersion: PointNumbers::Real(&[1.0, 0.0, 1.0]), ..objective };
    let refused = value(&refused, Rows::new("mean", &mean, 3, 1).unwrap(), Reduction::Sum);
    assert!(matches!(refused, Err(Error::Value { name: "var", index: 1, .. })));
}

/// Five rows of three features, two classes.
fn epoch<'a>(objective: &'a Softmax<'a>, x: &'a [f64], order: Option<&'a [i64]>, rates: &'a [f64]) -> Epoch<'a, f64> {
    let x = Rows::new("x", x, 5, 3).unwrap();
    let moment = Momentum { momentum: 0.0, nesterov: false };
    Epoch { loss: objective, x, order, batch_size: 2, rates, moment, weight_decay: [Decay::Same(0.0); 2] }
}

#[test]
fn an_epoch_goes_down_the_gradients_of_its_batches() {
    let x: Vec<f64> = (0..15).map(|i| f64::from(i * 7 % 11) - 5.0).collect();
    let (order, labels, rates) = ([4, 2, 0, 1, 3], [0, 1, 1, 0, 1], [0.1, 0.2, 0.05]);
    let (objective, mut weight, mut bias) = (softmax(&labels, 2), [0.1; 6], [0.0, 0.3]);
    let (mut by_hand, mut bias_by_hand) = (weight, bias);
    let checked = epoch(&objective, &x, Some(&order), &rates).checked(2).unwrap();
    assert_eq!(checked.steps(), 3);
    let mut model = Parameters { weight: &mut weight, bias: Some(&mut bias) };
    // In two parts, as somebody who looks up now and then takes it.
    let loss = checked.run(0..1, &mut model, None).unwrap() + checked.run(1..3, &mut model, None).unwrap();

    let mut total = 0.0;
    for (step, rate) in rates.iter().enumerate() {
        let visits = 2 * step..5.min(2 * step + 2);
        let rows: Vec<f64> = visits.clone().flat_map(|v| &x[3 * order[v] as usize..][..3]).copied().collect();
        let (batch, mut grad, mut bias_grad) = (softmax(&labels[visits.clone()], 2), [0.0; 6], [0.0; 2]);
        let objective = LinearObjective {
            loss: &batch,
            x: Rows::new("x", &rows, visits.len(), 3).unwrap(),
            weight: Rows::new("weight", &by_hand, 2, 3).unwrap(),
            bias: Some(&bias_by_hand),
        };
        let grads = LinearGrads { weight: Some(&mut grad), bias: Some(&mut bias_grad), x: None };
        total += visits.len() as f64
            * scalar(linear_value_and_grads(&objective, grads, Reduction::Mean, GradOutput::ONE).unwrap());
        by_hand.iter_mut().zip(grad).for_each(|(w, g)| *w -= rate * g);
        bias_by_hand.iter_mut().zip(bias_grad).for_each(|(b, g)| *b -= rate * g);
    }
    assert!((loss - total / 5.0).abs() < 1e-14);
    assert!(weight.iter().zip(by_hand).all(|(a, b)| (a - b).abs() < 1e-14), "{weight:?} {by_hand:?}");
    assert!(bias.iter().zip(bias_by_hand).all(|(a, b)| (a - b).abs() < 1e-14), "{bias:?} {bias_by_hand:?}");
}

#[test]
fn an_epoch_whose_parts_do_not_fit_is_refused() {
    let (x, labels, rates) = ([0.0; 15], [0, 1, 1, 0, 1], [0.1; 3]);
    let objective = softmax(&labels, 2);
    let wrong = |epoch: Epoch<'_, f64>| epoch.checked(2).err().unwrap().to_string();
    let message = wrong(epoch(&objective, &x, Some(&[0, 1, 5, 2, 3]), &rates));
    assert_eq!(message, "order must be the number of a row, got 5.0 at index 2");
    let message = wrong(epoch(&objective, &x, None, &rates[..2]));
    assert_eq!(message, "learning_rate must have shape (3,), got (2,)");
    let weight_decay = [Decay::Each(&x[..4]), Decay::Same(0.0)];
    let message = wrong(Epoch { weight_decay, ..epoch(&objective, &x, None, &rates) });
    assert_eq!(message, "weight_decay must have shape (6,), got (4,)");
    let message = wrong(Epoch { batch_size: 0, ..epoch(&objective, &x, None, &rates) });
    assert_eq!(message, "batch_size must be positive, got 0");

    let checked = epoch(&objective, &x, None, &rates).checked(2).unwrap();
    let mut short = [0.0; 5];
    let refused = checked.run(0..3, &mut Parameters { weight: &mut short, bias: None }, None);
    assert_eq!(refused.unwrap_err().to_string(), "weight must have shape (2, 3), got (5,)");
    let mut weight = [0.5; 6];
    let mut run = |steps| checked.run(steps, &mut Parameters { weight: &mut weight, bias: None }, None);
    assert_eq!(run(2..4).unwrap_err().to_string(), "steps must be those of the epoch, got 2..4 of 3");
    assert_eq!(run(3..3), Ok(0.0));
    assert_eq!(weight, [0.5; 6]);
}

#[test]
fn points_may_stand_apart_in_rows() {
    let wide: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11) / 11.0).collect();
    let target = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0];
    // Apart, one upon the other, and the same row again and again.
    for stride in [5, 2, 0] {
        let data = &wide[..2 * stride + 3];
        let apart = Rows::with_stride("logits", data, 3, 3, stride).unwrap();
        let packed: Vec<f64> = (0..3).flat_map(|i| &data[i * stride..][..3]).copied().collect();
        let tight = Rows::new("logits", &packed, 3, 3).unwrap();
        let (mut one, mut other) = ([7.0; 9], [7.0; 9]);
        let both = |objective: &dyn Objective<f64>, one: &mut [f64], other: &mut [f64]| {
            assert_eq!(value(objective, apart, Reduction::None), value(objective, tight, Reduction::None));
            for (rows, place) in [(apart, &mut *one), (tight, &mut *other)] {
                let io = RowsIo::new(rows, place).unwrap();
                value_and_grad(objective, io, Reduction::Mean, GradOutput::ONE).unwrap();
            }
            assert_eq!(one, other);
        };
        let (ignored, sample_weight): (Option<f64>, Option<&[f64]>) = (None, None);
        let loss = SigmoidCrossEntropy::new(None, 0.0).unwrap();
        both(
            &PointObjective { loss, target: PointNumbers::Real(&target), sample_weight, ignored },
            &mut one,
            &mut other,
        );
        let (spread, loss) = (&wide[..17], BinaryCrossEntropy::<f64>::new(None, 0.0).unwrap());
        let targets = PointNumbers::Stored(f64::rows(Rows::with_stride("target", spread, 9, 1, 2).unwrap()));
        both(&PointObjective { loss, target: targets, sample_weight, ignored }, &mut one, &mut other);
        let (targets, loss) =
            (PointNumbers::Stored(f64::rows(apart)), BinaryCrossEntropy::<f64>::new(None, 0.0).unwrap());
        let objective = PointObjective { loss, target: targets, sample_weight, ignored };
        let expected = Error::Shape { name: "target", expected: vec![9, 1], got: vec![3, 3] };
        assert_eq!(value(&objective, apart, Reduction::Mean), Err(expected));
        let loss = GaussianNll { dispersion: Dispersion::Variance, full: true };
        let (target, dispersion) = (PointNumbers::Real(&target), PointNumbers::Real(&[2.0]));
        both(&GaussianObjective { loss, target, dispersion, sample_weight }, &mut one, &mut other);
        for (rows, place) in [(apart, &mut one), (tight, &mut other)] {
            apply(Function::Softplus, RowsIo::new(rows, place).unwrap()).unwrap();
        }
        assert_eq!(one, other);
        let labels = [0, 1, 1, 0, 1, 0, 1, 1, 0];
        let group = Classes::new(Labels::I32(&labels), 2, None).unwrap();
        let [a, b] =
            [apart, tight].map(|rows| parity_penalty(rows, Groups { group, count: 2, target: None }, Link::Sigmoid));
        assert_eq!(a, b);
        let [a, b] = [apart, tight].map(|rows| {
            let sparse = Sparse::new(Labels::I32(&labels), rows, 2, None).unwrap();
            let loss = SoftmaxCrossEntropy::new(2, None, 0.0).unwrap();
            let objective = RowObjective { loss, target: Targets::Sparse(sparse), sample_weight: None };
            value(&objective, Rows::new("logits", &packed[..6], 3, 2).unwrap(), Reduction::Sum).unwrap()
        });
        assert_eq!(a, b);
    }
    // What is wrong with a number is found in rows that stand apart too.
    let bad = Rows::with_stride("p", &[0.5, 9.0, 1.5], 2, 1, 2).unwrap();
    let loss = BinaryCrossEntropy::<f64>::new(None, 0.0).unwrap();
    let objective =
        PointObjective { loss, target: PointNumbers::Real(&[1.0, 0.0]), sample_weight: None, ignored: None };
    let expected = Error::Value { name: "p", expected: "in [0, 1]", got: 1.5, index: 1 };
    assert_eq!(value(&objective, bad, Reduction::Sum), Err(expected));
}

#[test]
fn a_soft_label_that_is_nearly_sure_keeps_the_digits_of_the_others() {
    for classes in [2, 3, 17, 64] {
        for share in [1e-2f32, 1e-4, 1e-6] {
            let mut target = vec![share / (classes - 1) as f32; classes];
            target[1] = 1.0 - share;
            let logits: Vec<f32> = (0..classes).map(|k| if k == 1 { 25.0 } else { k as f32 * 0.1 }).collect();
            let mut grad = vec![7.0; classes];
            let objective = RowObjective {
                loss: SoftmaxCrossEntropy::new(classes, None, 0.0).unwrap(),
                target: Targets::Distributions(Rows::new("target", &target, 1, classes).unwrap()),
                sample_weight: None,
            };
            let io = RowsIo::new(Rows::new("logits", &logits, 1, classes).unwrap(), &mut grad).unwrap();
            value_and_grad(&objective, io, Reduction::Sum, GradOutput::ONE).unwrap();
            let others: f64 = target.iter().map(|&t| f64::from(t)).sum::<f64>() - f64::from(target[1]);
            let rest: f64 = logits.iter().map(|&z| (f64::from(z) - 25.0).exp()).sum::<f64>() - 1.0;
            let truth = (others - f64::from(target[1]) * rest) / (1.0 + rest);
            assert!((f64::from(grad[1]) / truth - 1.0).abs() < 1e-5, "{classes} {share}: {} {truth}", grad[1]);
        }
    }
}

#[test]
fn the_groups_of_many_rows_are_those_of_their_points() {
    let x: Vec<f64> = (0..80_000).map(|i| f64::from(i % 101) * 0.1 - 5.0).collect();
    let labels: Vec<i64> = (0..80_000).map(|i| i64::from(i > 70_000 || i % 3 == 0)).collect();
    let [one, other] = [(80_000, 1), (40_000, 2)].map(|(rows, columns)| {
        let group = Classes::new(Labels::I64(&labels), 2, None).unwrap();
        let (groups, mut grad) = (Groups { group, count: 2, target: None }, vec![7.0f64; x.len()]);
        let io = RowsIo::new(Rows::new("logits", &x, rows, columns).unwrap(), &mut grad).unwrap();
        (parity_penalty_with_grad(io, groups, Link::Sigmoid, 1.0).unwrap(), grad)
    });
    assert!((one.0 / other.0 - 1.0).abs() < 1e-12, "{} {}", one.0, other.0);
    assert!(one.1.iter().zip(&other.1).all(|(a, b)| (a - b).abs() <= 1e-12 * a.abs()));
}

#[test]
fn rows_that_cannot_be_counted_are_refused() {
    let data = [0.5; 6];
    for (rows, columns, stride) in [
        (usize::MAX, 3, 3),
        (3, usize::MAX, 0),
        (usize::MAX / 2 + 4, 6, 2), // whose end wraps around to 6 or so
        (1 << 62, 6, 0),            // more numbers than can be counted, of which six are stored
        ((1 << 63) + 1, 6, 2),
    ] {
        let refused = Rows::with_stride("x", &data, rows, columns, stride);
        assert!(matches!(refused, Err(Error::Shape { name: "x", .. })), "{rows} {columns} {stride}: {refused:?}");
    }
    assert!(Rows::with_stride("x", &data, 3, 2, 2).is_ok() && Rows::with_stride("x", &data[..0], 0, 5, 9).is_ok());
}

#[test]
fn labels_and_options_for_other_logits_are_refused() {
    let (logits, labels) = ([0.5; 6], [0, 4]);
    let rows = Rows::new("logits", &logits, 2, 3).unwrap();
    let expected = |classes| Error::Shape { name: "logits", expected: vec![2, classes], got: vec![2, 3] };
    let classes = Classes::new(Labels::I64(&labels), 5, None).unwrap();
    let few = Classes::new(Labels::I64(&[0, 1]), 2, None).unwrap();
    let loss = |classes| SoftmaxCrossEntropy::<f64>::new(classes, None, 0.1).unwrap();
    let objective = |loss, target| RowObjective { loss, target, sample_weight: None };
    let ask = |objective: &dyn Objective<f64>| value(objective, rows, Reduction::Mean).err();
    assert_eq!(ask(&objective(loss(3), Targets::Classes(classes))), Some(expected(5)));
    assert_eq!(ask(&objective(loss(4), Targets::Classes(few))), Some(expected(4)));
    // A vocabulary that is padded has logits that no label asks for.
    assert_eq!(ask(&objective(loss(3), Targets::Classes(few))), None);
    let focal = SoftmaxFocalLoss::new(loss(4), 2.0).unwrap();
    assert_eq!(
        ask(&RowObjective { loss: focal, target: Targets::Classes(few), sample_weight: None }),
        Some(expected(4))
    );
    let weights = Rows::new("target", &[0.5; 2], 2, 1).unwrap();
    let sparse = Sparse::new(Labels::I64(&labels), weights, 5, None).unwrap();
    assert_eq!(ask(&objective(loss(3), Targets::Sparse(sparse))), Some(expected(5)));
    let probabilities = CategoricalCrossEntropy::new(4, Some(&[1.0; 4]), 0.0).unwrap();
    let objective = RowObjective { loss: probabilities, target: Targets::Classes(few), sample_weight: None };
    assert_eq!(ask(&objective), Some(expected(4)));
    let tokens = |tokens| TokenObjective::new(tokens, None, 1.0, [GradOutput::ONE; 2]).unwrap();
    assert_eq!(ask(&tokens(classes)), Some(expected(5)));
    assert_eq!(ask(&tokens(few).with_log_prior(Some(&[0.0; 4]), 4).unwrap()), Some(expected(4)));
    assert_eq!(softmax_stats(rows, classes, None).err(), Some(expected(5)));
    let groups = Groups { group: classes, count: 3, target: None };
    let two = Rows::new("logits", &logits[..2], 2, 1).unwrap();
    let refused = parity_penalty(two, groups, Link::Identity).err();
    assert_eq!(refused, Some(Error::Shape { name: "groups", expected: vec![5], got: vec![3] }));
}
