//! The names that the template deploys are the ones that the program uses. Deploys to moto only.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::Path,
};

use logtally::{
    config::{self, environment::Environment},
    engine::{metric, row::Output},
};
use serde_json::Value;

use super::{DEFAULT, read, root};

/// Variables that `logtally-lambda` reads beside the configuration.
const OF_THE_FUNCTION: [&str; 2] = ["LOGTALLY_ROLE", "LOGTALLY_DEAD_LETTER_QUEUE"];

/// Every series that a row and a health row can add to.
fn series() -> BTreeMap<String, BTreeSet<String>> {
    let row = r#"{"rowId":"r","windowStart":"2026-11-21T04:35:00Z","windowEnd":"2026-11-21T04:40:00Z","revision":0,
        "applicationName":"Billing","contact":"","response":200,"responseCount":1,"bytes":1}"#;
    let row: Output = serde_json::from_str(row).unwrap();
    let mut series: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for datum in metric::datums(&[row]) {
        let dimensions = datum.series.dimensions.into_iter().map(|(name, _)| name);
        series.entry(datum.series.name).or_default().extend(dimensions);
    }
    for name in [
        metric::MALFORMED_LINES,
        metric::LATE_LINES,
        metric::DUPLICATE_LINES,
        metric::LAG_SECONDS,
        metric::HEARTBEAT,
        metric::SILENT_PRODUCERS,
    ] {
        series.insert(name.to_owned(), BTreeSet::new());
    }
    // What deliver itself adds.
    series.insert("InDoubt".to_owned(), BTreeSet::new());
    series
}

/// The template's properties, by resource, of one type.
fn properties<'a>(stack: &'a Value, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let resources = stack["template"].as_object().unwrap().iter();
    resources.filter(move |(_, of)| of["Type"] == kind).map(|(name, of)| (name.as_str(), &of["Properties"]))
}

#[test]
fn alarms_and_dashboard_watch_the_metrics_that_are_published() {
    let stack = &*DEFAULT;
    let series = series();
    let namespace = config::parse("").unwrap().deliver.namespace;
    let mut watched = BTreeSet::new();

    for (alarm, properties) in properties(stack, "AWS::CloudWatch::Alarm") {
        if properties["Namespace"] != namespace.as_str() {
            assert_eq!(properties["Namespace"], "AWS/SQS", "{alarm}");
            continue;
        }
        let name = properties["MetricName"].as_str().unwrap();
        let dimensions = properties["Dimensions"].as_array().into_iter().flatten();
        let dimensions: BTreeSet<String> =
            dimensions.map(|dimension| dimension["Name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(series.get(name), Some(&dimensions), "{alarm} watches {name}");
        watched.insert(name.to_owned());
    }

    let dashboard = &stack["dashboards"][0];
    let names: BTreeSet<&str> = series.keys().map(String::as_str).collect();
    for metric in dashboard["widgets"].as_array().unwrap().iter().flat_map(metrics) {
        let [first, name] = [&metric[0], &metric[1]];
        if first == namespace.as_str() {
            let name = name.as_str().unwrap();
            assert!(names.contains(name), "the dashboard shows {name}, which nothing publishes");
            watched.insert(name.to_owned());
        } else if let Some(search) = first["expression"].as_str() {
            let name = names.iter().find(|name| search.contains(&format!("MetricName=\"{name}\""))).unwrap();
            let dimensions = series[*name].iter().cloned().collect::<Vec<_>>().join(",");
            assert!(search.contains(&format!("{{{namespace},{dimensions}}}")), "{search}");
            watched.insert((*name).to_owned());
        }
    }
    assert_eq!(
        watched,
        series.keys().cloned().collect(),
        "what is published is watched (left), and all of it (right)"
    );
}

fn metrics(widget: &Value) -> impl Iterator<Item = &Value> {
    widget["properties"]["metrics"].as_array().into_iter().flatten()
}

#[test]
fn the_alarms_are_those_of_the_design() {
    let stack = &*DEFAULT;
    let shown: String = properties(stack, "AWS::CloudWatch::Alarm")
        .filter(|(_, of)| !of["AlarmName"].to_string().contains("application"))
        .map(|(_, of)| {
            let text = |key: &str| of[key].as_str().map_or_else(|| of[key].to_string(), str::to_owned);
            let keys =
                ["MetricName", "Statistic", "Period", "ComparisonOperator", "Threshold", "TreatMissingData"];
            keys.map(text).join(" ") + "\n"
        })
        .collect();
    insta::assert_snapshot!(shown, @"
    Heartbeat Sum 300 LessThanThreshold 0.999 breaching
    ApproximateNumberOfMessagesVisible Maximum 300 GreaterThanThreshold 0 notBreaching
    LagSeconds Maximum 300 GreaterThanThreshold 300 notBreaching
    RequestCount Sum 300 GreaterThanThreshold 100 notBreaching
    ");
}

#[test]
fn policies_name_their_resources() {
    let stack = &*DEFAULT;
    // The only actions that cannot be restricted to a resource; PutMetricData is to a namespace.
    let free = [
        "ec2:DescribeInstances",
        "autoscaling:DescribeTags",
        "cloudwatch:GetMetricData",
        "cloudwatch:ListMetrics",
    ];
    for (policy, statements) in stack["policies"].as_object().unwrap() {
        for statement in statements.as_array().unwrap() {
            let actions = match &statement["Action"] {
                Value::Array(actions) => actions.iter().map(|action| action.as_str().unwrap()).collect(),
                action => vec![action.as_str().unwrap()],
            };
            assert!(actions.iter().all(|action| !action.contains('*')), "{policy}: {statement}");
            if statement["Resource"] == "*" {
                let metrics = statement["Condition"]["StringEquals"]["cloudwatch:namespace"] == "Logtally";
                let put = actions == ["cloudwatch:PutMetricData"] && metrics;
                assert!(put || actions.iter().all(|action| free.contains(action)), "{policy}: {statement}");
            }
        }
    }
}

#[test]
fn the_functions_set_variables_that_are_read() {
    let stack = &*DEFAULT;
    for (function, of) in stack["functions"].as_object().unwrap() {
        let variables = of["environment"].as_object().unwrap().iter();
        let variables = variables.filter(|(name, _)| !OF_THE_FUNCTION.contains(&name.as_str()));
        let environment: Environment = variables
            .map(|(name, value)| (OsString::from(name), OsString::from(value.as_str().unwrap())))
            .collect();
        let loaded = config::load(Some(Path::new("/dev/null")), &environment, &[])
            .unwrap_or_else(|error| panic!("{function}: {error}"));
        assert!(loaded.warnings.is_empty(), "{function}: {:?}", loaded.warnings);
    }
}

#[test]
fn streams_tables_and_attributes_have_the_names_of_the_program() {
    let stack = &*DEFAULT;
    let mut deployed: Vec<String> = names_of(&stack["streams"]);
    deployed.extend(stack["tables"].as_object().unwrap().keys().cloned());
    assert_eq!(deployed, ["logtally-input", "logtally-output", "logtally-leases", "logtally-ledger"]);
    assert_eq!(stack["tables"]["logtally-leases"]["key"], serde_json::json!(["leaseKey"]));
    assert_eq!(stack["tables"]["logtally-ledger"]["key"], serde_json::json!(["id"]));
    let expires = &stack["template"]["Ledger"]["Properties"]["TimeToLiveSpecification"]["AttributeName"];
    assert_eq!(expires, "expires");
    let environment: Environment = [("LOGTALLY_BACKEND", "aws")].into_iter().collect();
    let loaded = config::load(Some(Path::new("/dev/null")), &environment, &[]).unwrap();
    let defaults = format!("{:?}", loaded.config);
    let code = source_of("src/backend/aws");
    for name in deployed {
        assert!(
            defaults.contains(&format!("\"{name}\"")),
            "{name} is no default of the configuration: {defaults}"
        );
    }
    for name in ["leaseKey", "id", "expires"] {
        assert!(code.contains(&format!("\"{name}\"")), "the backend names no attribute \"{name}\"");
    }
    assert!((source_of("src/engine") + &code).contains("\"InDoubt\""), "nothing publishes InDoubt");
    let function = source_of("src/bin");
    for name in OF_THE_FUNCTION {
        assert!((function.clone() + &source_of("src/config")).contains(name), "nothing reads {name}");
    }
}

#[test]
fn the_set_up_of_an_instance_writes_a_configuration() {
    for (stages, bucket) in [("produce", ""), ("analyze", "bucket"), ("analyze,deliver", "bucket")] {
        let mut script = std::process::Command::new("bash");
        script.arg(root().join("infra/user-data.sh")).arg("--print-configuration");
        script.env("ARTIFACT", "s3://a/h").env("STAGES", stages).env("BUCKET", bucket);
        let output = super::succeed(&mut script);
        config::parse(&super::text(&output.stdout)).unwrap_or_else(|error| panic!("{stages}: {error}"));
    }
}

fn names_of(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// The text of every file under `dir`.
fn source_of(dir: &str) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(root().join(dir)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        text += &if path.is_dir() { source_of(&name) } else { read(&name) };
    }
    text
}
