//! Numbers: RFC 8785's table, and what is refused by value.

use proptest::prelude::*;

use super::super::*;
use super::check;

#[test]
fn doubles_print_as_in_appendix_b() {
    let table: [(u64, &str); 25] = [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        (0x433f_ffff_ffff_ffff, "9007199254740991"),
    ];
    for (bits, expected) in table {
        let mut out = Vec::new();
        write_number(&mut out, f64::from_bits(bits)).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{bits:016x}");
        assert_eq!(
            canonicalize(expected.as_bytes()).is_ok(),
            is_admissible(f64::from_bits(bits)),
            "{expected}"
        );
    }
}

#[test]
fn what_is_not_finite_is_not_printed() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(0x7fff_ffff_ffff_ffff)] {
        let mut out = b"kept".to_vec();
        assert_eq!(write_number(&mut out, number), Err(NotFinite));
        assert_eq!((out.as_slice(), is_admissible(number)), (&b"kept"[..], false));
    }
}

#[test]
fn equal_values_print_alike_whatever_their_spelling() {
    let zeroes = "0".repeat(400);
    for (text, expected) in [
        ("1.0", "1"),
        ("1e2", "100"),
        ("1E2", "100"),
        ("1E+2", "100"),
        ("100e-2", "1"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("0e99999999999999999999", "0"),
        ("-0.000e-99999999999999999999", "0"),
        ("5e-1", "0.5"),
        ("-1.50", "-1.5"),
        ("1.50e1", "15"),
        ("0.1", "0.1"),
        ("9007199254740991", "9007199254740991"),
        ("-9007199254740991.000", "-9007199254740991"),
        ("90071992547409910e-1", "9007199254740991"),
        ("4503599627370495.5", "4503599627370495.5"),
        ("1712477904174263.2", "1712477904174263.2"),
        ("5e-324", "5e-324"),
        ("0.50e-323", "5e-324"),
        ("2.2250738585072014e-308", "2.2250738585072014e-308"),
        ("1e-7", "1e-7"),
        ("0.000001", "0.000001"),
        ("123456789012345", "123456789012345"),
        ("-1234567890123456", "-1234567890123456"),
    ] {
        check(text, expected);
    }
    check(&format!("1{zeroes}e-400"), "1");
    check(&format!("0.{zeroes}1e401"), "1");
    check(&format!("0.5{zeroes}"), "0.5");
}

#[test]
fn what_a_double_does_not_hold_is_refused() {
    let zeroes = "0".repeat(400);
    let long = [format!("1{zeroes}"), format!("0.{zeroes}1"), format!("1.{zeroes}1"), format!("1{zeroes}.5")];
    let table = [
        "1e20",
        "1e21",
        "1E400",
        "-1e400",
        "0.12345678901234567890",
        "1e-400",
        "9007199254740992",
        "-9007199254740992",
        "9007199254740993",
        "9007199254740991.5",
        "0.1234567890123456789",
        // Halfway between two decimals of 17 digits that both name the same double: the even one is printed.
        "1712477904174263.25",
        "1712477904174263.3",
        "0.10000000000000001",
        "333333333.33333329",
        "4.9e-324",
        "3e-324",
        "2e-324",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "18446744073709551616",
        "99999999999999999999999",
    ];
    for text in table.into_iter().chain(long.iter().map(String::as_str)) {
        let error = canonicalize(format!("[{text}]").as_bytes()).unwrap_err();
        assert_eq!((error.pointer.as_str(), error.offset), ("/0", 1), "{text}");
        assert_eq!(error.kind, ErrorKind::NumberOutOfRange, "{text}");
    }
}

#[test]
fn numbers_are_pulled_by_value() {
    let mut reader = Reader::new(b"[1e2, -0, 100, -2.5, -9007199254740991.0, 3.5]").unwrap();
    reader.begin_array().unwrap();
    let mut element = |read: fn(&mut Reader<'_>) -> Result<f64, Error>| {
        assert!(reader.next_element().unwrap());
        read(&mut reader)
    };
    let integer = |reader: &mut Reader<'_>| reader.integer().map(|n| n.to_string().parse().unwrap());
    assert_eq!(element(integer).unwrap(), 100.0);
    assert!(element(|reader| reader.number()).unwrap().is_sign_positive());
    assert_eq!(element(|reader| reader.number()).unwrap(), 100.0);
    assert_eq!(element(|reader| reader.number()).unwrap(), -2.5);
    assert_eq!(element(integer).unwrap(), -9_007_199_254_740_991.0);
    assert_eq!(element(integer).unwrap_err().kind, ErrorKind::NotInteger);
}

/// Doubles of every magnitude that is not integral for sure, with the integral ones among them.
fn admissible() -> impl Strategy<Value = f64> {
    let bits = (any::<bool>(), 0..1075_u64, 0..1_u64 << 52);
    bits.prop_map(|(negative, exponent, mantissa)| {
        f64::from_bits(u64::from(negative) << 63 | exponent << 52 | mantissa)
    })
}

proptest! {
    #[test]
    fn every_admissible_double_is_read_back_bit_by_bit(number in admissible()) {
        prop_assert!(is_admissible(number));
        let mut out = Vec::new();
        write_number(&mut out, number).unwrap();
        prop_assert!(is_canonical(&out));
        prop_assert_eq!(Reader::new(&out).unwrap().number().unwrap(), number);
        let mut spelled_out = String::from_utf8(out.clone()).unwrap();
        let exponent = spelled_out.find('e').unwrap_or(spelled_out.len());
        spelled_out.insert_str(exponent, if spelled_out.contains('.') { "000" } else { ".0" });
        prop_assert_eq!(canonicalize(spelled_out.as_bytes()).unwrap(), out);
    }

    #[test]
    fn short_decimals_print_as_their_doubles_print(text in "-?(0|[1-9][0-9]{0,9})\\.(0{0,8})[0-9]{1,9}(e-[0-9])?") {
        let mut out = Vec::new();
        write_number(&mut out, text.parse().unwrap()).unwrap();
        match canonicalize(text.as_bytes()) {
            Ok(printed) => prop_assert_eq!(printed, out),
            Err(error) => prop_assert!(text.bytes().filter(u8::is_ascii_digit).count() > 15, "{}", error),
        }
    }

    #[test]
    fn integers_are_admitted_exactly_within_the_limit(number in -(1_i64 << 54)..(1_i64 << 54)) {
        let admitted = canonicalize(number.to_string().as_bytes());
        prop_assert_eq!(admitted.is_ok(), number.abs() <= INTEGER_MAX);
        prop_assert_eq!(canonicalize(format!("{number}.0e0").as_bytes()), admitted);
    }

    #[test]
    fn another_digit_prints_another_number_or_is_refused(number in admissible(), at: usize, step in 1..10_u8) {
        let mut out = Vec::new();
        write_number(&mut out, number).unwrap();
        let original = out.clone();
        let mantissa = out.iter().position(|byte| *byte == b'e').unwrap_or(out.len());
        let digits: Vec<usize> = (0..mantissa).filter(|i| out[*i].is_ascii_digit()).collect();
        let digit = &mut out[digits[at % digits.len()]];
        *digit = (*digit - b'0' + step) % 10 + b'0';
        prop_assert_ne!(canonicalize(&out).ok(), Some(original));
    }
}
