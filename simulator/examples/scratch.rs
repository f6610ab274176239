#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods)]
use forebay_simulator::fit::*;
use forebay_simulator::flash::*;
use forebay_simulator::profile::*;
fn show(p: &FlashProfile, free: &[Parameter], e: &Errors) {
    for f in free {
        println!("  {f:?} {:.6e}", f.get(p));
    }
    for c in &e.points {
        println!(
            "  {:>9} {:>4} {:?} {:>9.1} {:>9.1} {:>7.2}%",
            c.point.block_bytes,
            c.point.depth,
            c.point.state,
            c.point.mb_s,
            c.simulated_mb_s,
            100.0 * c.error()
        );
    }
    println!("  mean {:.2}% max {:.2}%", 100.0 * e.mean(), 100.0 * e.max());
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let start = Profile::named(&args[1]).unwrap().at(Edge::Nominal).flash;
    let text = std::fs::read_to_string(format!("simulator/data/{}.csv", args[2])).unwrap();
    let points = parse_points(&text, "x").unwrap();
    let mut start = start;
    let mut free = vec![];
    for a in &args[4..] {
        let (n, v) = a.split_once('=').unwrap();
        let (n, fixed) = n.strip_prefix('!').map_or((n, false), |n| (n, true));
        if n == "units" {
            start.units = v.parse().unwrap();
            continue;
        }
        if n == "tail" {
            start.tail.share = v.parse().unwrap();
            continue;
        }
        let p = Parameter::ALL.into_iter().find(|p| format!("{p:?}") == n).unwrap();
        if !v.is_empty() {
            p.set(&mut start, v.parse().unwrap());
        }
        if !fixed {
            free.push(p);
        }
    }
    let t = std::time::Instant::now();
    let e0 = compare(&start, &points);
    println!("start mean {:.2}% in {:?}", 100.0 * e0.mean(), t.elapsed());
    let n: usize = args[3].parse().unwrap();
    let best = fit(&start, &points, &free, n);
    show(&best, &free, &compare(&best, &points));
    println!("{:?}", t.elapsed());
    if std::env::var("LOO").is_ok() {
        let h = held_out(&start, &points, &free, n);
        show(&best, &[], &h);
        println!("{:?}", t.elapsed());
    }
}
