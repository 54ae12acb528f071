//! VictoriaMetrics: numbers at milliseconds, one metric for each measurement and field.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::servers::Server;
use super::wire;
use super::{Value, Values};

/// The samples of each metric: times in milliseconds, values.
pub type Samples = BTreeMap<String, Vec<(i64, f64)>>;

/// All samples of these metrics. What was written is made visible first.
#[track_caller]
pub fn samples(server: &Server, wanted: &Samples) -> Samples {
    wire::get(server.port, "/internal/force_flush");
    let path = "/api/v1/export?start=1&end=4102444800&match%5B%5D=%7B__name__%21%3D%22%22%7D";
    let answer = String::from_utf8(wire::get(server.port, path)).unwrap();
    let mut all = Samples::new();
    for line in answer.lines() {
        let row: Json = serde_json::from_str(line).unwrap();
        let times = row["timestamps"].as_array().unwrap();
        let values = row["values"].as_array().unwrap();
        let pairs = times.iter().zip(values);
        let pairs = pairs.map(|(time, value)| (time.as_i64().unwrap(), value.as_f64().unwrap()));
        all.entry(metric(&row["metric"])).or_default().extend(pairs);
    }
    // A string becomes 0 there: not a number that anybody wrote.
    all.retain(|name, _| wanted.contains_key(name));
    all.values_mut().for_each(|samples| sort(samples));
    all
}

/// `name,label=value` in the order of the labels, without the one that says the bucket.
fn metric(labels: &Json) -> String {
    let mut name = labels["__name__"].as_str().unwrap().to_owned();
    let labels: BTreeMap<_, _> = labels.as_object().unwrap().iter().collect();
    for (label, value) in labels
        .into_iter()
        .filter(|(label, _)| !["__name__", "db"].contains(&label.as_str()))
    {
        name.push_str(&format!(",{label}={}", value.as_str().unwrap()));
    }
    name
}

/// What the server should hold of these values: integers as floats, no strings and truth values.
pub fn numbers(values: &Values) -> Samples {
    let mut all = Samples::new();
    for ((key, time), value) in values {
        let number = match &value[0] {
            Value::Float(bits) => f64::from_bits(*bits),
            Value::Integer(value) => *value as f64,
            Value::Boolean(_) | Value::String(_) => continue,
        };
        let key = String::from_utf8(key.to_vec()).unwrap();
        let (series, field) = key.split_once(' ').unwrap();
        let (measurement, tags) = series.split_once(',').unwrap_or((series, ""));
        let comma = if tags.is_empty() { "" } else { "," };
        let metric = format!("{measurement}_{field}{comma}{tags}");
        all.entry(metric)
            .or_default()
            .push((time.div_euclid(1_000_000), number));
    }
    all.values_mut().for_each(|samples| sort(samples));
    all
}

fn sort(samples: &mut [(i64, f64)]) {
    samples.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
}

/// The first sample that differs, if one does.
pub fn difference(wanted: &Samples, found: &Samples) -> Option<String> {
    for (metric, samples) in wanted {
        let Some(others) = found.get(metric) else {
            return Some(format!("{metric} is missing"));
        };
        if samples.len() != others.len() {
            let (wanted, found) = (samples.len(), others.len());
            return Some(format!("{metric} has {found} samples, not {wanted}"));
        }
        let differs = |(a, b): &(&(i64, f64), &(i64, f64))| a != b;
        if let Some((a, b)) = samples.iter().zip(others).find(differs) {
            return Some(format!("{metric}: {b:?}, not {a:?}"));
        }
    }
    None
}
