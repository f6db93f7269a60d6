//! Every operation of every instruction set against plain arithmetic, for every tail.

use super::*;

/// Results of each operation on the lanes of `a` and `b`, tails included.
#[derive(Clone)]
struct Operations<'a, T> {
    a: &'a [T],
    b: &'a [T],
}

impl<T: Float> Kernel<T> for Operations<'_, T> {
    type Output = Vec<Vec<T>>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Self::Output {
        let Operations { a, b } = self;
        let each = |f: &dyn Fn(S::V, S::V) -> S::V| {
            let mut out = vec![T::NAN; a.len()];
            for i in (0..a.len()).step_by(S::LANES) {
                write(s, f(read(s, a, i, T::ONE), read(s, b, i, T::ONE)), &mut out, i);
            }
            out
        };
        let (zero, one) = (s.splat(T::ZERO), s.splat(T::ONE));
        vec![
            each(&|x, y| x + y),
            each(&|x, y| x - y),
            each(&|x, y| x * y),
            each(&|x, y| x / y),
            each(&|x, y| x.max(y)),
            each(&|x, y| x.min(y)),
            each(&|x, _| x.abs()),
            each(&|x, y| S::V::select(x.lt(y), one, zero)),
            each(&|x, y| S::V::select(x.eq(y), one, zero)),
            each(&|x, y| S::V::select(x.lt(y), x, zero - y)),
            each(&|x, y| y.zero_where_lt(x, y)),
            each(&|x, y| x.zero_where(x.lt(y))),
            each(&|x, y| x.zero_unless(x.lt(y))),
            each(&|x, y| y.add_where(x.lt(y), x)),
            each(&|x, y| y.add_unless(x.lt(y), x)),
        ]
    }
}

fn plain(a: f64, b: f64) -> [f64; 15] {
    let flag = |holds: bool| f64::from(u8::from(holds));
    [
        a + b,
        a - b,
        a * b,
        a / b,
        if a > b { a } else { b },
        if a < b { a } else { b },
        a.abs(),
        flag(a < b),
        flag(a == b),
        if a < b { a } else { -b },
        if a < b { 0.0 } else { b },
        if a < b { 0.0 } else { a },
        if a < b { a } else { 0.0 },
        if a < b { b + a } else { b },
        if a < b { b } else { b + a },
    ]
}

const SPECIAL: [f64; 12] =
    [0.0, -0.0, 1.0, -1.5, 3.25, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-3, -700.0, 88.0, 2.0];

#[test]
fn operators_comparisons_and_tails() {
    for n in 1..70 {
        let a: Vec<f64> = (0..n).map(|i| SPECIAL[(i * 5) % 12]).collect();
        let b: Vec<f64> = (0..n).map(|i| SPECIAL[(i * 7 + n) % 12]).collect();
        for isa in Isa::available() {
            let got = f64::dispatch(isa, Operations { a: &a, b: &b });
            for i in 0..n {
                for (op, truth) in plain(a[i], b[i]).into_iter().enumerate() {
                    let same = got[op][i] == truth || (got[op][i].is_nan() && truth.is_nan());
                    assert!(same, "{} op {op} of {} and {}: {}", isa.name(), a[i], b[i], got[op][i]);
                }
            }
            let (a32, b32): (Vec<f32>, Vec<f32>) = (0..n).map(|i| (a[i] as f32, b[i] as f32)).unzip();
            let got = f32::dispatch(isa, Operations { a: &a32, b: &b32 });
            for i in 0..n {
                for (op, truth) in plain(a32[i].into(), b32[i].into()).into_iter().enumerate() {
                    let same = got[op][i] == truth as f32 || (got[op][i].is_nan() && truth.is_nan());
                    assert!(same, "{} op {op} of {} and {}: {}", isa.name(), a32[i], b32[i], got[op][i]);
                }
            }
        }
    }
}

/// Reductions, exponents and positions.
#[derive(Clone)]
struct Shapes<'a, T>(&'a [T]);

impl<T: Float> Kernel<T> for Shapes<'_, T> {
    type Output = (f64, f64, Vec<(T, T, T)>);
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Self::Output {
        let sums = fold::<4, _, _, _>(s, self.0, T::ZERO, s.splat(T::ZERO), |sum, _, v| sum + v);
        let tops = fold::<4, _, _, _>(s, self.0, -T::INFINITY, s.splat(-T::INFINITY), |top, _, v| v.max(top));
        let sum = sums.into_iter().map(|v| v.sum().to_f64()).sum();
        let top = tops.into_iter().map(|v| v.largest().to_f64()).fold(f64::NEG_INFINITY, f64::max);
        // 1.5 * 2^digits + bias
        let power = T::from_f64(if size_of::<T>() == 4 { 12_583_039.0 } else { 6_755_399_441_056_767.0 });
        let split = |x: T| {
            let (m, k) = s.splat(x).split();
            (m.largest(), k.largest(), (m * (k + s.splat(power)).to_power()).largest())
        };
        (sum, top, self.0.iter().map(|&x| split(x)).collect())
    }
}

#[test]
#[cfg_attr(miri, ignore = "numbers by the thousand")]
fn sums_maxima_and_exponents() {
    for n in 1..300 {
        let xs: Vec<f64> = (0..n).map(|i| (1.0 + ((i * 37) % 101) as f64) * 2f64.powi((i % 60) - 30)).collect();
        let truth: f64 = xs.iter().sum();
        let largest = xs.iter().copied().fold(0.0, f64::max);
        for isa in Isa::available() {
            let (sum, top, parts) = f64::dispatch(isa, Shapes(&xs));
            assert!((sum - truth).abs() <= 1e-14 * truth && top == largest, "{} n={n}", isa.name());
            for (x, (m, k, back)) in xs.iter().zip(parts) {
                assert!((m * m - 1.25).abs() <= 0.7501 && m * 2f64.powf(k) == *x && back == *x, "{x}: {m} {k}");
            }
            let xs: Vec<f32> = xs.iter().map(|&x| x as f32).collect();
            let (sum, top, parts) = f32::dispatch(isa, Shapes(&xs));
            assert!((sum - truth).abs() <= 1e-6 * truth && top == f64::from(largest as f32), "{} n={n}", isa.name());
            for (x, (m, k, back)) in xs.iter().zip(parts) {
                assert!((m * m - 1.25).abs() <= 0.7501 && m * 2f32.powf(k) == *x && back == *x, "{x}: {m} {k}");
            }
        }
    }
}

/// The sum and the maximum of each of some registers, one by one and all at once.
struct Across<'a, T>(&'a [T]);

impl<T: Float> Kernel<T> for Across<'_, T> {
    type Output = [[Vec<T>; 2]; 2];
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Self::Output {
        let mut registers = [S::Array::default(); MAX_LANES];
        for (register, xs) in registers.iter_mut().zip(self.0.chunks_exact(S::LANES)) {
            register.as_mut().copy_from_slice(xs);
        }
        let (mut sums, mut maxima) = (vec![], vec![]);
        for register in &registers[..S::LANES] {
            sums.push(s.load(register).sum());
            maxima.push(s.load(register).largest());
        }
        let [all_sums, all_maxima] = [lanes_of(s, s.sums(&registers)), lanes_of(s, s.maxima(&registers))];
        [[sums, maxima], [all_sums.as_ref().to_vec(), all_maxima.as_ref().to_vec()]]
    }
}

#[test]
fn sums_and_maxima_of_many_registers_have_the_bits_of_each() {
    // Sums of such numbers round otherwise in any other order, and the largest is in another lane of each register.
    let xs: Vec<f64> = (0..256).map(|i| f64::from((i * 193) % 257 - 128) * 1.1f64.powi(i % 23) + 0.1).collect();
    let narrow: Vec<f32> = xs.iter().map(|&x| x as f32).collect();
    for isa in Isa::available() {
        let [each, all] = f64::dispatch(isa, Across(&xs));
        assert_eq!(each, all, "{}", isa.name());
        let [each, all] = f32::dispatch(isa, Across(&narrow));
        assert_eq!(each, all, "{}", isa.name());
        assert_eq!(each[0].len(), isa.lanes::<f32>(), "{}", isa.name());
    }
}

struct Find<'a, T>(&'a [T], T);

impl<T: Float> Kernel<T> for Find<'_, T> {
    type Output = Option<usize>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Self::Output {
        position(s, self.0, self.1)
    }
}

#[test]
fn position_is_the_first_match_and_never_past_the_end() {
    for n in 1..70 {
        let xs: Vec<f32> = (0..n).map(|i| (i % 17) as f32).collect();
        for isa in Isa::available() {
            for wanted in 0..18 {
                let truth = xs.iter().position(|&x| x == wanted as f32);
                assert_eq!(f32::dispatch(isa, Find(&xs, wanted as f32)), truth, "{} n={n} {wanted}", isa.name());
            }
        }
    }
}

/// The results of [`Lanes::opposite`] and [`Lanes::product`] for every pair.
#[derive(Clone)]
struct Pairs<'a, T>(&'a [T]);

impl<T: Float> Kernel<T> for Pairs<'_, T> {
    type Output = Vec<([T; 2], [[T; 2]; 2])>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Self::Output {
        let mut found = vec![];
        for &a in self.0 {
            for &b in self.0 {
                let (minus, k) = s.splat(a).opposite(s.splat(b));
                let (high, low) = s.splat(a).product(s.splat(b));
                found.push(([a, b], [[minus.largest(), k.largest()], [high.largest(), low.largest()]]));
            }
        }
        found
    }
}

#[test]
fn a_power_of_two_brings_any_number_near_any_other() {
    let mantissas = [1.0, 1.25, 1.4999, 1.5, 1.5001, 1.75, 1.9999];
    for isa in Isa::available() {
        let near = |a: f64, b: f64, minus: f64, k: f64| {
            // 2^k is split into two factors, neither of which overflows.
            let power = |k: f64| 2f64.powi((k / 2.0).floor() as i32);
            assert_eq!(-minus, b * power(k) * power(k + 1.0), "{} {a:e} {b:e}: {k}", isa.name());
            assert!((a / -minus).abs() <= 1.5001 && (a / minus).abs() >= 0.6666, "{} {a:e} {b:e}", isa.name());
            assert!(k == 0.0 || !(0.7501..=1.3333).contains(&(a / b)), "{} {a:e} {b:e}: {k}", isa.name());
        };
        let xs = |exponents: &[i32]| exponents.iter().flat_map(|&e| mantissas.map(|m| m * 2f64.powi(e))).collect();
        let wide: Vec<f64> = xs(&[-1021, -600, -2, -1, 0, 1, 2, 53]);
        for ([a, b], [[minus, k], _]) in f64::dispatch(isa, Pairs(&wide)) {
            near(a, b, minus, k);
        }
        let narrow: Vec<f64> = xs(&[-125, -60, -2, -1, 0, 1, 2, 24]);
        let narrow: Vec<f32> = narrow.into_iter().map(|x| x as f32).collect();
        for ([a, b], [[minus, k], _]) in f32::dispatch(isa, Pairs(&narrow)) {
            near(a.into(), b.into(), minus.into(), k.into());
        }
    }
}

#[test]
fn a_product_in_two_parts_is_exact() {
    let xs: Vec<f64> = (0..60).map(|i| (f64::from(i) - 30.5).powi(7) * 1.1f64.powi(i * 3) * 1e-9).collect();
    let narrow: Vec<f32> = xs.iter().map(|&x| x as f32).collect();
    for isa in Isa::available() {
        for ([a, b], [_, [high, low]]) in f64::dispatch(isa, Pairs(&xs)) {
            assert_eq!((high, low), (a * b, a.mul_add(b, -(a * b))), "{} {a:e} {b:e}", isa.name());
        }
        for ([a, b], [_, [high, low]]) in f32::dispatch(isa, Pairs(&narrow)) {
            assert_eq!((high, low), (a * b, a.mul_add(b, -(a * b))), "{} {a:e} {b:e}", isa.name());
        }
    }
}

/// Tests the plain arrays of other architectures, which are never dispatched to on x86-64.
#[test]
#[cfg_attr(miri, ignore = "numbers by the thousand")]
fn plain_arrays_give_the_bits_of_the_baseline() {
    fn same<T: Float, K: Kernel<T> + Clone>(kernel: K) -> bool
    where
        portable::Portable: Simd<T>,
        K::Output: Debug,
    {
        let [.., baseline] = Isa::available()[..] else { unreachable!("there is always one") };
        let expected = format!("{:?}", T::dispatch(baseline, kernel.clone()));
        format!("{:?}", portable::enter(portable::Portable, |s| kernel.run(s))) == expected
    }
    for n in 1..70 {
        let a: Vec<f64> = (0..n).map(|i| SPECIAL[(i * 5) % 12]).collect();
        let b: Vec<f64> = (0..n).map(|i| SPECIAL[(i * 7 + n) % 12]).collect();
        let xs: Vec<f64> = (0..n).map(|i| (1.0 + ((i * 37) % 101) as f64) * 2f64.powi((i as i32 % 60) - 30)).collect();
        let narrow = |xs: &[f64]| xs.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        assert!(same(Operations { a: &a, b: &b }) && same(Shapes(&xs)) && same(Pairs(&xs)), "float64, n={n}");
        let (a, b, xs) = (narrow(&a), narrow(&b), narrow(&xs));
        assert!(same(Operations { a: &a, b: &b }) && same(Shapes(&xs)) && same(Pairs(&xs)), "float32, n={n}");
    }
}

/// Writes columns of a matrix back after they were read; returns the columns and the copy.
struct Columns<'a, T> {
    matrix: &'a [T],
    classes: usize,
    stride: usize,
}

impl<T: Float> Columns<'_, T> {
    #[inline(always)]
    fn of<S: Simd<T>, const C: usize>(&self, s: S) -> (Vec<Vec<T>>, Vec<T>) {
        let mut copy = vec![T::NAN; self.matrix.len()];
        let columns = s.load_columns::<C>(self.matrix, self.stride);
        s.store_columns(columns, &mut copy, self.stride);
        (columns.iter().map(|&column| lanes_of(s, column).as_ref().to_vec()).collect(), copy)
    }
}

impl<T: Float> Kernel<T> for Columns<'_, T> {
    type Output = (Vec<Vec<T>>, Vec<T>);
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Self::Output {
        match self.classes {
            1 => self.of::<S, 1>(s),
            2 => self.of::<S, 2>(s),
            3 => self.of::<S, 3>(s),
            _ => self.of::<S, 4>(s),
        }
    }
}

#[test]
fn columns_are_read_and_written_in_place() {
    fn check<T: Float>(isa: Isa, classes: usize, stride: usize) {
        // As many rows as a register has lanes, and not a number more.
        let lanes = match (isa.name(), size_of::<T>()) {
            ("avx512", size) => 64 / size,
            ("avx2", size) => 32 / size,
            (_, size) => 16 / size,
        };
        let matrix: Vec<T> = (0..(lanes - 1) * stride + classes).map(|i| T::from_f64(i as f64)).collect();
        let (columns, copy) = T::dispatch(isa, Columns { matrix: &matrix, classes, stride });
        for (k, column) in columns.iter().enumerate() {
            let truth: Vec<T> = (0..lanes).map(|i| matrix[i * stride + k]).collect();
            assert!(*column == truth, "{} {classes} {stride}: column {k}", isa.name());
        }
        for (i, &x) in copy.iter().enumerate() {
            let is_inside = i % stride < classes;
            assert!(if is_inside { x == matrix[i] } else { x != x }, "{} {classes} {stride}: place {i}", isa.name());
        }
    }
    for isa in Isa::available() {
        for classes in 1..=4 {
            for stride in [classes, classes + 1, 7] {
                check::<f32>(isa, classes, stride);
                check::<f64>(isa, classes, stride);
            }
        }
    }
}
