//! Rounds of samples as markdown tables: medians over the rounds, ratios made within a round, ranges beside them.

use crate::load::Sample;

/// A cell of a closed loop: what counts is CPU a request.
pub(crate) fn loads(title: &str, rows: &[(&str, u64)], rounds: &[Vec<Sample>]) -> String {
    let mut text = format!(
        "\n### {title}\n\n\
         | Server | CPU µs/req | × floor | × nginx | × HAProxy | req/s | p50 µs | p99 µs | to origin | errors | memory MB |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for (index, (name, memory)) in rows.iter().enumerate() {
        let all = |of: Figure| of_rounds(rounds, index, of);
        let cpu = |sample: &Sample| Some(sample.cpu);
        text += &format!(
            "| {name} | {:.2} | {} | {} | {} | {:.0} | {} | {} | {:.0} | {:.0} | {:.0} |\n",
            median(&all(&cpu)),
            against(rows, rounds, index, "floor", &cpu),
            against(rows, rounds, index, "nginx", &cpu),
            against(rows, rounds, index, "HAProxy", &cpu),
            median(&all(&|sample| Some(sample.rate))),
            spread(&all(&|sample| sample.p50), 0),
            spread(&all(&|sample| sample.p99), 0),
            median(&all(&|sample| Some(sample.through as f64))),
            median(&all(&|sample| Some(sample.errors))),
            *memory as f64 / 1e6,
        );
    }
    text
}

/// A cell of the open loop: percentiles from the scheduled moment, and what of them can be the generator's own.
pub(crate) fn latencies(title: &str, rows: &[(&str, u64)], rounds: &[Vec<Sample>]) -> String {
    let mut text = format!(
        "\n### {title}\n\n\
         | Server | p50 µs | p99 µs | p99.9 µs | p99.9 × HAProxy | × nginx | generator's own p99.9 µs | left out % | CPU µs/req | req/s | to origin | errors |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for (index, (name, _)) in rows.iter().enumerate() {
        let all = |of: Figure| of_rounds(rounds, index, of);
        let p999 = |sample: &Sample| sample.p999;
        text += &format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {:.2} | {:.0} | {:.0} | {:.0} |\n",
            spread(&all(&|sample| sample.p50), 0),
            spread(&all(&|sample| sample.p99), 0),
            spread(&all(&p999), 0),
            against(rows, rounds, index, "HAProxy", &p999),
            against(rows, rounds, index, "nginx", &p999),
            spread(&all(&|sample| sample.own), 0),
            spread(&all(&|sample| sample.left_out.map(|share| share * 100.0)), 1),
            median(&all(&|sample| Some(sample.cpu))),
            median(&all(&|sample| Some(sample.rate))),
            median(&all(&|sample| Some(sample.through as f64))),
            median(&all(&|sample| Some(sample.errors))),
        );
    }
    text
}

/// What a column shows of a run.
type Figure<'a> = &'a dyn Fn(&Sample) -> Option<f64>;

fn of_rounds(rounds: &[Vec<Sample>], index: usize, of: Figure) -> Vec<f64> {
    rounds.iter().filter_map(|round| of(round.get(index)?)).collect()
}

/// The figure of row `index` as a multiple of that of the row called `title`, made within each round.
fn against(rows: &[(&str, u64)], rounds: &[Vec<Sample>], index: usize, title: &str, of: Figure) -> String {
    let Some(other) = rows.iter().position(|(name, _)| *name == title) else { return "–".to_owned() };
    let ratios: Vec<f64> = rounds
        .iter()
        .filter_map(|round| Some(of(round.get(index)?)? / of(round.get(other)?)?))
        .filter(|ratio| ratio.is_finite())
        .collect();
    if other == index { "1".to_owned() } else { spread(&ratios, 2) }
}

/// The middle one; between two their mean.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(upper), 0) => f64::midpoint(values.get(middle - 1).copied().unwrap_or(*upper), *upper),
        (Some(value), _) => *value,
        (None, _) => f64::NAN,
    }
}

/// The median, and where values differ, their range.
pub(crate) fn spread(values: &[f64], digits: usize) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let told = [median(values), low, high].map(|value| format!("{value:.digits$}"));
    if values.is_empty() {
        "–".to_owned()
    } else if told[1] == told[2] {
        told[0].clone()
    } else {
        format!("{} ({}–{})", told[0], told[1], told[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_stands_in_the_middle_and_its_range_beside_it() {
        for (claim, values, wanted) in [
            ("odd", vec![3.0, 1.0, 2.0], "2.00 (1.00–3.00)"),
            ("even", vec![1.0, 2.0], "1.50 (1.00–2.00)"),
            ("equal values have no range", vec![2.0, 2.0], "2.00"),
            ("nothing measured", vec![], "–"),
        ] {
            assert_eq!(spread(&values, 2), wanted, "{claim}");
        }
    }
}
