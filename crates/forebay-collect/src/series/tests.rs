use super::*;
use proptest::prelude::*;

fn sum(series: &Series) -> i64 {
    match series.value {
        Value::Sum { value: Number::Int(value), temporality: Temporality::Delta, .. } => value,
        ref other => panic!("{other:?}"),
    }
}

fn counter(time: u64, value: i64) -> Series {
    Series::new("n", time, Value::counter(value)).since(1)
}

proptest! {
    /// Whichever reports fail, the committed deltas add up to the count, and no delta is reported twice.
    #[test]
    fn c06_a_failed_report_loses_and_doubles_nothing(steps in prop::collection::vec((0_i64..100, any::<bool>()), 1..60)) {
        let (mut deltas, mut counted, mut reported) = (Deltas::new(), 0, 0);
        let mut histogram = Histogram::new(&[10.0, 50.0][..]);
        let mut of_histogram = 0;
        for (step, (more, delivered)) in (2..).zip(steps) {
            counted += more;
            (0..more).for_each(|value| histogram.record(f64::from(i32::try_from(value).unwrap())));
            let all = vec![counter(step, counted), Series::new("h", step, Value::histogram(histogram.clone())).since(1)];
            let (report, pending) = deltas.report(all).split();
            if delivered {
                reported += sum(&report[0]);
                let Value::Histogram { histogram, .. } = &report[1].value else { panic!("{report:?}") };
                prop_assert_eq!(histogram.count, histogram.counts.iter().sum::<u64>());
                of_histogram += histogram.count;
                pending.commit(&mut deltas);
                prop_assert_eq!(reported, counted);
                prop_assert_eq!(i64::try_from(of_histogram).unwrap(), counted);
            }
        }
    }

    #[test]
    fn a_set_of_labels_does_not_know_its_order(mut labels in prop::collection::vec(("[a-c]{1,2}", 0_i64..3), 0..9)) {
        let one: Labels = labels.clone().into_iter().collect();
        let mut other = Labels::new();
        for (name, value) in labels.drain(..) {
            other.insert(name, value);
        }
        prop_assert_eq!(&one, &other);
        prop_assert!(one.iter().map(|(name, _)| name).is_sorted_by(|a, b| a < b));
    }
}

#[test]
fn a_series_that_restarts_is_reported_whole() {
    let mut deltas = Deltas::new();
    let (_, pending) = deltas.report(vec![counter(10, 7)]).split();
    pending.commit(&mut deltas);
    // It fell: its process has restarted.
    assert_eq!(sum(&deltas.report(vec![counter(20, 3)]).split().0[0]), 3);
    // Its start moved, though the value is higher.
    assert_eq!(sum(&deltas.report(vec![counter(20, 9).since(15)]).split().0[0]), 9);
    // It goes on: what came since, from then on.
    let report = deltas.report(vec![counter(20, 9)]).split().0;
    assert_eq!((sum(&report[0]), report[0].start_unix_nanos, report[0].time_unix_nanos), (2, 10, 20));
}

#[test]
fn a_report_from_before_a_reset_is_not_committed() {
    let mut deltas = Deltas::new();
    let (_, old) = deltas.report(vec![counter(10, 7)]).split();
    deltas.reset();
    old.commit(&mut deltas);
    assert_eq!(sum(&deltas.report(vec![counter(20, 8)]).split().0[0]), 8);
}

#[test]
fn c05_gauges_and_deltas_pass_unchanged() {
    let delta = Value::Sum { value: Number::Int(4), monotonic: true, temporality: Temporality::Delta };
    let all = vec![
        Series::new("g", 5, Value::gauge(1.0)).labels([("of", "a")]),
        Series::new("g", 5, Value::gauge(2.0)).labels([("of", "b")]),
        Series::new("d", 5, delta),
    ];
    let mut deltas = Deltas::new();
    for _ in 0..2 {
        let (report, pending) = deltas.report(all.clone()).split();
        assert_eq!(report, all);
        pending.commit(&mut deltas);
    }
}

/// Both, one, the other, and neither of the two sets are empty.
#[test]
fn labels_merge_by_the_stated_rule() {
    let (own, added) = (Labels::from([("a", "own"), ("b", "own")]), Labels::from([("b", "added"), ("c", "added")]));
    let merged = |mut own: Labels, added: &Labels, precedence| {
        own.merge(added, precedence);
        own.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    let none = Labels::new();
    assert_eq!(merged(own.clone(), &added, Precedence::Added), "a=own b=added c=added");
    assert_eq!(merged(own.clone(), &added, Precedence::Own), "a=own b=own c=added");
    assert_eq!(merged(own, &none, Precedence::Added), "a=own b=own");
    assert_eq!(merged(none.clone(), &added, Precedence::Own), "b=added c=added");
    assert_eq!(merged(none.clone(), &none, Precedence::Added), "");
    // Within one list, the last one of a name wins.
    assert_eq!(Labels::from([("a", 1_i64), ("a", 2)]), Labels::new().with("a", 2_i64));
}

#[test]
fn a_value_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
    let mut histogram = Histogram::new(vec![10.0, f64::NAN, 1.0, 10.0]);
    assert_eq!(&*histogram.bounds, [1.0, 10.0]);
    [0.0, 1.0, 1.1, 10.0, 11.0, f64::NAN, f64::INFINITY].into_iter().for_each(|value| histogram.record(value));
    assert_eq!((histogram.counts, histogram.count), (vec![2, 2, 1], 5));
    assert_eq!((histogram.min, histogram.max, histogram.sum), (Some(0.0), Some(11.0), Some(23.1)));
}

#[test]
fn values_of_different_kinds_are_not_put_together() {
    let mut gauge = Value::gauge(1.0);
    assert_eq!(gauge.merge(&Value::counter(1_i64)), Err(NotMerged));
    let mut histogram = Value::histogram(Histogram::default());
    assert_eq!(histogram.merge(&Value::histogram(Histogram::new(&[1.0][..]))), Err(NotMerged));
    assert_eq!(histogram.merge(&Value::histogram(Histogram::default())), Ok(()));
    let mut sum = counter(5, 2);
    assert_eq!(sum.merge(&counter(9, 3).since(0)), Ok(()));
    assert_eq!(sum, counter(9, 5).since(0));
}
