//! Several processes on one state directory: one a stage. Kills nothing.

use super::{
    home::Home,
    load::lines,
    oracle::{assert_balanced, published},
};

#[test]
fn a_second_process_of_a_stage_is_refused_and_told_who_holds_it() {
    let home = Home::new();
    let first = home.start("run");
    for stage in ["produce", "analyze", "deliver"] {
        home.until_up(&first, stage);
        let refused = home.ended(stage);
        let said = refused.stderr.lines().filter(|line| line.starts_with("logtally: "));
        let expected = format!(
            "logtally: {stage} is already running on {} (process {}): stop it, or use another state_dir",
            home.path("state/logtally.db").display(),
            first.id()
        );
        assert_eq!(refused.code, Some(69), "{}", refused.stderr);
        assert_eq!(said.collect::<Vec<_>>(), [expected]);
    }
    let refused = home.ended("run");
    assert_eq!(refused.code, Some(69), "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("(process {})", first.id())), "{}", refused.stderr);

    home.log(&lines("10.0.1.7", 10));
    home.until("the first goes on", || published(&home, "Search") == 10);
    first.stop();
}

#[test]
fn three_stages_in_three_processes_are_one_pipeline_and_each_may_come_and_go() {
    let home = Home::new();
    let [produce, analyze, deliver] = ["produce", "analyze", "deliver"].map(|stage| home.start(stage));
    home.log(&lines("10.0.1.7", 10));
    home.until("ten", || published(&home, "Search") == 10);
    analyze.stop();
    home.log(&lines("10.0.1.7", 10));
    let analyze = home.start("analyze");
    home.until("twenty", || published(&home, "Search") == 20);
    deliver.stop();
    home.log(&lines("10.0.1.7", 10));
    let deliver = home.start("deliver");
    home.until("thirty", || published(&home, "Search") == 30);
    for process in [produce, analyze, deliver] {
        process.stop();
    }
    assert_balanced(&home);
}
