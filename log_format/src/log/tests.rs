mod crash;
mod faults;
mod flips;
mod reading;
mod support;
