//! What changes while a process runs: reference data, configuration. Rotates nothing.

use std::{fs, io::Write};

use rustix::process::Signal;

use super::{
    home::{CONFIG, HOSTS, Home, Running},
    load::lines,
    oracle::{assert_balanced, finish, published, reported},
};

const MORE_HOSTS: &str = "10.9.9.9,Newcomer,new@example.com\n";

#[test]
fn changed_reference_data_is_taken_up_by_itself() {
    let home = Home::new();
    let process = home.start("run");
    home.log(&lines("10.9.9.9", 3));
    home.until("unknown", || published(&home, "Unknown") == 3);
    home.write("hosts.csv", &format!("{HOSTS}{MORE_HOSTS}"));
    home.until_said("reference data reloaded");
    home.log(&lines("10.9.9.9", 4));
    home.until("known", || published(&home, "Newcomer") == 4);

    home.write("hosts.csv", "Nothing,Of,Use\n");
    home.until_said("keeping the last good reference data");
    home.log(&lines("10.9.9.9", 5));
    home.until("still known", || published(&home, "Newcomer") == 9);
    assert_eq!(published(&home, "Unknown"), 3);
    process.stop();
}

#[test]
fn changed_reference_data_is_taken_up_at_once_on_sighup() {
    let home = Home::with(&CONFIG.replace("reference_refresh = \"200ms\"", "reference_refresh = \"1h\""));
    let process = home.start("run");
    home.log(&lines("10.9.9.9", 3));
    home.until("unknown", || published(&home, "Unknown") == 3);
    home.write("hosts.csv", &format!("{HOSTS}{MORE_HOSTS}"));
    process.signal(Signal::HUP);
    home.until_said("reference data reloaded");
    home.log(&lines("10.9.9.9", 4));
    home.until("known", || published(&home, "Newcomer") == 4);
    process.stop();
}

#[test]
fn a_broken_configuration_is_refused_and_the_good_one_stays() {
    let home = Home::new();
    let mut process = home.start("run");
    home.log(&lines("10.0.1.7", 3));
    home.until("three", || published(&home, "Search") == 3);
    home.write("logtally.toml", &CONFIG.replace("window", "windw"));
    process.signal(Signal::HUP);
    home.until_said("keeping the last good configuration: logtally.toml line");
    assert!(home.said().contains("did you mean \"window\"?"), "{}", home.said());
    home.log(&lines("10.0.1.7", 3));
    home.until("six", || published(&home, "Search") == 6);
    assert!(process.runs());

    home.write("logtally.toml", CONFIG);
    process.signal(Signal::HUP);
    home.until_said("the configuration has not changed");
    process.stop();
}

#[test]
fn a_configuration_that_could_not_start_is_refused_and_the_good_one_stays() {
    let home = Home::new();
    let mut process = home.start("run");
    home.until_up(&process, "analyze");
    let alarm = "\n[[alarm]]\nname = \"a\"\nrule = \"Unknown > 1\"\nwebhook = \"https://example.com/\"\n";
    let broken = [
        (CONFIG.replace("[analyze]", "[analyze]\nformat = \"%t %Q\""), "log format \"%t %Q\""),
        (CONFIG.replace("access.log*", "access[.log"), "file pattern \"access[.log\""),
        (CONFIG.replace("hosts.csv", "nowhere.csv"), "nowhere.csv"),
        (CONFIG.to_owned() + &alarm.replace("> 1", "is many"), "alarm rule \"Unknown is many\""),
        (CONFIG.to_owned() + &alarm.replace("example.com", ""), "webhook of alarm \"a\""),
    ];
    for (number, (config, why)) in (1..).zip(broken) {
        home.write("logtally.toml", &config);
        process.signal(Signal::HUP);
        let refusals = || -> Vec<String> {
            let said = home.said();
            said.lines().filter(|line| line.contains("keeping the last good")).map(str::to_owned).collect()
        };
        home.until(why, || refusals().len() == number || !process.runs());
        assert!(process.runs(), "{why}: {}", home.said());
        assert!(refusals()[number - 1].contains(why), "{why}: {}", home.said());
    }
    home.log(&lines("10.0.1.7", 3));
    home.until("three", || published(&home, "Search") == 3);
    process.stop();
}

#[test]
fn files_named_on_the_command_line_are_followed_after_a_reload_too() {
    let home = Home::new();
    let process = home.start("produce other.log");
    home.until_up(&process, "produce");
    home.write("logtally.toml", &CONFIG.replace("record_age = \"20ms\"", "record_age = \"10ms\""));
    process.signal(Signal::HUP);
    home.until_said("going on with the new configuration");
    process.signal(Signal::HUP);
    home.until_said("the configuration has not changed");
    home.write("other.log", &lines("10.0.1.7", 3));
    home.log(&lines("10.0.1.7", 100));
    let analyze = home.start("analyze");
    let deliver = home.start("deliver");
    home.until("three", || published(&home, "Search") == 3);
    [process, analyze, deliver].into_iter().for_each(Running::stop);
    assert_balanced(&home);
    assert_eq!(published(&home, "Search"), 3);
}

#[test]
fn standard_input_is_read_on_through_a_reload() {
    let home = Home::new();
    let (input, mut lines_in) = std::io::pipe().unwrap();
    let process = home.fed("produce -", input);
    home.until_up(&process, "produce");
    let _analyze = home.start("analyze");
    let _deliver = home.start("deliver");
    for count in 1..=3 {
        lines_in.write_all(lines("10.0.1.7", 3).as_bytes()).unwrap();
        home.until("three more", || published(&home, "Search") == 3 * count);
        home.write("logtally.toml", &CONFIG.replace("\"20ms\"", &format!("\"{count}ms\"")));
        process.signal(Signal::HUP);
        home.until("refused", || home.said().matches("holds from the next start").count() as u64 == count);
    }
    drop(lines_in);
    assert!(process.wait().success(), "its end is the end: {}", home.said());
    assert_balanced(&home);
}

#[test]
fn a_changed_window_goes_on_without_a_line_lost_or_twice() {
    let home = Home::new();
    let process = home.start("run");
    home.until_up(&process, "analyze");
    let mut written = 0;
    for (restarts, window) in ["2s", "1h", "3s", "1s"].into_iter().enumerate() {
        home.log(&lines("10.0.1.7", 7));
        home.log(&lines("stranger.example.net", 2));
        written += 7;
        home.write("logtally.toml", &CONFIG.replace("window = \"1s\"", &format!("window = \"{window}\"")));
        process.signal(Signal::HUP);
        let going_on = || home.said().matches("going on with the new configuration").count();
        home.until("going on", || going_on() == restarts + 1);
    }
    process.stop();
    finish(&home);
    let expected = [("Search", written), ("Unknown", written / 7 * 2)];
    assert_eq!(reported(&home), expected.map(|(name, count)| (name.to_owned(), count)).into());
    assert_eq!(fs::read_to_string(home.path("access.log")).unwrap().lines().count(), 36);
    assert_balanced(&home);
}
