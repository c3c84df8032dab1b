"""The reader of CSV, against numbers written here."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from handmade import _csv
from handmade.data import load_csv


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


TABLE = [[0.1, 2.0, 1e-300], [-3.0, 4.5, 6.0]]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("0.1,2,1e-300\n-3,4.5,6\n", {}),
        ("0.1,2,1e-300\n-3,4.5,6", {}),
        ("0.1,2,1e-300\r\n-3,4.5,6\r\n", {}),
        ("\n0.1,2,1e-300\n\n\n-3,4.5,6\n\n", {}),
        (" 0.1 ,2, 1E-300\n-3,+4.5,6.\n", {}),
        ('"0.1","2","1e-300"\n"-3","4.5","6"\n', {}),
        ("\ufeff0.1,2,1e-300\n-3,4.5,6\n", {}),
        ("0.1;2;1e-300\n-3;4.5;6\n", {"delimiter": ";"}),
        ("0.1\t2\t1e-300\n-3\t4.5\t6\n", {"delimiter": "\t"}),
        ("0.1X2X1e-300\n-3X4.5X6\n", {"delimiter": "X"}),
        ("a,b,c\n0.1,2,1e-300\n-3,4.5,6\n", {}),
        ("\n\na,b,c\n\n0.1,2,1e-300\n-3,4.5,6\n", {}),
        ("\ufeffa,b,c\n0.1,2,1e-300\n-3,4.5,6\n", {}),
        ('"a, the first",#,"c"\n0.1,2,1e-300\n-3,4.5,6\n', {}),
        ('"a\nb",b,c\n0.1,2,1e-300\n-3,4.5,6\n', {}),
        (",b,c\n0.1,2,1e-300\n-3,4.5,6\n", {}),
        (b"gr\xf6\xdfe,b,c\n0.1,2,1e-300\n-3,4.5,6\n", {}),
        ("1,2,c\n0.1,2,1e-300\n-3,4.5,6\n", {"header": True}),
        ("0.1,2,1e-300\n-3,4.5,6\n", {"header": False}),
        ("0.1,2,1e-300\n\xa0-3,4.5,6\n", {}),
        ("\"0.1\",2,1e-300\n-3,4.5,'6'\n".replace("'", '"'), {}),
    ],
)
def test_csv_is_read_to_the_last_bit(tmp_path, text, options):
    X, y = load_csv(written(tmp_path, text), None, **options)
    np.testing.assert_array_equal(X, np.array(TABLE), strict=True)
    assert y is None


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("target", "column"), [(-1, 2), (0, 0), (1, 1), (-3, 0), ("a", 0), ("b", 1), ("c", 2)])
def test_csv_splits_off_the_target_column(tmp_path, target, column, dtype):
    path = written(tmp_path, "a, b ,c\n0.1,2,1e-30\n-3,4.5,6\n")
    table = np.array([[0.1, 2.0, 1e-30], [-3.0, 4.5, 6.0]], dtype=dtype)
    X, y = load_csv(path, target, dtype=dtype)
    np.testing.assert_array_equal(X, table[:, [i for i in range(3) if i != column]], strict=True)
    np.testing.assert_array_equal(y, table[:, column], strict=True)


def test_csv_parses_a_clean_table_many_lines_at_once(tmp_path, monkeypatch):
    def parse_by_cell(block, layout):
        pytest.fail(f"took the slow way for {block}")

    monkeypatch.setattr(_csv, "_parse_by_cell", parse_by_cell)
    path = written(tmp_path, f'a;b\n\n"0.1";2\n3;{np.finfo(np.float64).max}\n')
    X, _ = load_csv(path, None, delimiter=";", header=True)
    np.testing.assert_array_equal(X, [[0.1, 2.0], [3.0, np.finfo(np.float64).max]])
    X, y = load_csv(written(tmp_path, "1,a\n2,b\n3,c\n"))
    assert X.tolist() == [[1.0], [2.0], [3.0]] and y.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0", "1", "2"], np.array([0, 1, 2])),
        (["1.0", "-1", "1e2"], np.array([1, -1, 100])),
        (["9007199254740991"], np.array([2**53 - 1])),
        (["9007199254740993"], np.array([2.0**53], dtype=np.float32)),  # two whole numbers have this float64
        (["16777217"], np.array([2**24 + 1])),
        (["0", "1.5"], np.array([0.0, 1.5], dtype=np.float32)),
        (["18014398509481984"], np.array([2.0**54], dtype=np.float32)),
        (["1e30"], np.array([1e30], dtype=np.float32)),
    ],
)
def test_csv_returns_whole_numbers_as_labels(tmp_path, cells, expected):
    path = written(tmp_path, "".join(f"0.5,{cell}\n" for cell in cells))
    np.testing.assert_array_equal(load_csv(path, dtype=np.float32)[1], expected, strict=True)


def test_csv_reads_back_random_numbers_exactly(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 7)) * 10.0 ** rng.integers(-300, 300, size=(300, 7))
    text = "\n".join(",".join(map(repr, row)) for row in X.tolist())
    np.testing.assert_array_equal(load_csv(written(tmp_path, text), None)[0], X)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("1,2\n3,x\n", {}, "line 2, column 2 of 2: expected a finite number, got 'x'"),
        ("a,b\n\n1,2\n3, 4 5\n", {}, "line 4, column 2 of 2: .* got ' 4 5'"),
        ("1,2\n3,\n", {}, "line 2, column 2 of 2: .* got an empty cell"),
        ("1,2\n  ,3\n", {}, "line 2, column 1 of 2: .* got an empty cell"),
        ("1,2\n3\n", {}, r"line 2: expected 2 cells separated by ',', got 1: \['3'\]$"),
        ("1,2\n3,4,5\n", {}, r"line 2: expected 2 cells .* got 3: \['3', '4', '5'\]$"),
        ("a,b\n1,2,3\n", {}, "line 2: expected 2 cells .* got 3"),
        ("a,b,c\n1,2\n3,4\n", {}, "line 2: expected 3 cells .* got 2"),
        ("1,2\n \n", {}, "line 2: expected 2 cells .* got 1"),
        ("1,nan\n", {}, "line 1, column 2 of 2: .* got 'nan'"),
        ("1,2\n-inf,2\n", {}, "line 2, column 1 of 2: .* got '-inf'"),
        ("1,2\n1e400,2\n", {}, "line 2, column 1 of 2: .* got '1e400'"),
        ("1,2\n1e39,2\n", {"dtype": np.float32}, "line 2, column 1 of 2: .* got '1e39'"),
        ("1,2\n3,0x10\n", {}, "line 2, column 2 of 2: .* got '0x10'"),
        ("1,2\n3,4 # five\n", {}, "line 2, column 2 of 2: .* got '4 # five'"),
        ("1,2\n3,setosa\n", {}, "got 'setosa'"),
        ("1,2\n3,Xenia\n", {}, "got 'Xenia'$"),
        ("a,b\n1,2\n", {"header": False}, "line 1, column 1 of 2: .* got 'a'"),
        ("a,2\n3,4\n", {}, "line 1, column 1 of 2: .* got 'a'"),
        ("a;b\n1;2\n", {}, "line 2, column 1 of 1: .* got '1;2'; if cells are separated by ';', pass delimiter=';'$"),
        ("1;2,5\n", {"delimiter": ";"}, "line 1, column 2 of 2: .* got '2,5'; write decimals with a point$"),
        (b"1,2\n3,\xff4\n", {}, "line 2, column 2 of 2: .* got '.4'; if the text has another encoding, pass encoding"),
        (
            "a;b\n1,5;2\n",
            {},
            r"line 2: expected 1 cells separated by ',', got 2: .*; if .* by ';', pass delimiter=';'$",
        ),
        ("1,2\n3,1_000\n", {}, "line 2, column 2 of 2: expected a finite number, got '1_000'$"),
        ("1_000,2\n3,4\n", {}, "line 1, column 1 of 2: expected a finite number, got '1_000'$"),
        ("1,2\n3,\uff11\uff12\n", {}, "line 2, column 2 of 2: expected a finite number, got '\uff11\uff12'$"),
        ("1,\uff11\uff12\n", {}, "line 1, column 2 of 2: expected a finite number"),
        ('1,2\n3,"4\n5,6\n', {}, "line 2: expected every quoted cell closed by a double quote, got unexpected end"),
        ('1,2\n3,"4"5\n', {}, "line 2: expected every quoted cell closed"),
        ('1,"2\n', {}, "line 1: expected cells .* got unexpected end of data; is a double quote missing"),
        ('"1\n",2\n', {}, "line 1: expected every quoted cell closed"),
        ('"a,b\n1,2\n', {}, "line 1: expected cells separated by ',', got unexpected end.*is a double quote missing"),
        ('"a,b\n' + "1,2\n" * 50_000, {}, "line 1: expected cells .* got field larger .*is a double quote missing"),
        ("1,2\0\n", {}, "line 1: expected text in utf-8, got NUL characters; is it UTF-16.*encoding='utf-16'"),
        ("1,2\n".encode("utf-16-le"), {}, "line 1: expected text in utf-8, got NUL characters"),
        ("1,2\n".encode("utf-16"), {}, "expected text in utf-8, got the mark of UTF-16; pass encoding='utf-16'"),
        ("1,2\n".encode("utf-32"), {}, "expected text in utf-8, got the mark of UTF-32; pass encoding='utf-32'"),
        ("\ufeff1,2\n".encode("utf-16-be"), {}, "got the mark of UTF-16; pass encoding='utf-16'"),
        (gzip.compress(b"1,2\n", mtime=0), {"encoding": "utf-8-sig"}, "expected text in utf-8-sig, got gzip"),
        (gzip.compress(b"1,2\n", mtime=0), {}, "expected text in utf-8, got gzip; pass gzip.open"),
        (b"PK\x03\x04", {}, "expected text in utf-8, got a zip archive or a spreadsheet; save it as CSV"),
        ("1,a\n2,3\n", {}, "line 2: expected the name of a class, as in the first line, got '3'$"),
        ("1,a\n2,\n", {}, "line 2: expected the name of a class, as in the first line, got ''$"),
        ("1,a\nb,c\n", {}, "line 2, column 1 of 2: expected a finite number, got 'b'$"),
        ("a,1\nb,c\n", {"target": 0}, "line 2, column 2 of 2: expected a finite number, got 'c'$"),
        (b"1,a\n2,\xff\n", {}, "line 2: expected the name of a class"),
        ("1,2\n" * 10, {"max_bytes": 159}, "line 10: expected a table of at most 159 bytes.*raise max_bytes"),
        ("1,abc\n" * 10, {"max_bytes": 199}, "line 10: expected a table of at most 199 bytes"),
        ("1," + "9" * 500 + "\n", {}, r"got '9+\.\.\.9+'$"),
        ("", {}, "expected lines of numbers, got none"),
        ("\n\n", {}, "got none"),
        ("a,b\n", {}, "got none"),
        ("1,2\n\n", {"header": True}, "got none"),
        ("1,2\n", {"target": 2}, "expected a target from -2 to 1 for 2 columns, got 2"),
        ("1,2\n", {"target": -3}, "expected a target from -2 to 1 for 2 columns, got -3"),
        ("a,b\n1,2\n", {"target": "c"}, r"one column named 'c', got the names \['a', 'b'\]"),
        ("a,a\n1,2\n", {"target": "a"}, r"one column named 'a', got the names \['a', 'a'\]"),
        ("1,2\n", {"target": "a"}, r"one column named 'a', got the names \[\]"),
    ],
)
def test_csv_names_file_line_and_column_of_bad_input(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=f"table.csv(:|,) ({message}|.*{message})"):
        load_csv(written(tmp_path, text), **options)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.longdouble, complex, object])
def test_csv_refuses_types_that_are_not_floating(tmp_path, dtype):
    with pytest.raises(TypeError, match="dtype: expected float64 or float32, got"):
        load_csv(written(tmp_path, "1,2\n"), dtype=dtype)


@pytest.mark.parametrize("largest", [np.finfo(np.float64).max, -np.finfo(np.float64).max])
def test_csv_takes_the_largest_number(tmp_path, largest):
    path = tmp_path / "set.csv"
    path.write_text(f"{float(largest)!r},0.5\n1.0,2.0\n")
    X, y = load_csv(path)
    assert X.tolist() == [[float(largest)], [1.0]] and y.tolist() == [0.5, 2.0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_csv_without_a_target_has_the_requested_dtype(tmp_path, dtype):
    path = tmp_path / "set.csv"
    path.write_text("0.1,2\n3,4\n")
    X, y = load_csv(path, target=None, dtype=dtype)
    np.testing.assert_array_equal(X, np.array([[0.1, 2], [3, 4]], dtype), strict=True)
    assert y is None


def test_csv_names_the_bad_cell_not_the_largest_one(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text(f"1,2\n{float(np.finfo(np.float64).max)!r},a\n")
    with pytest.raises(ValueError, match=r"line 2, column 2 of 2: expected a finite number, got 'a'$"):
        load_csv(path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": 1.5}, TypeError, "target: expected the index of a column, its name, or None, got 1.5"),
        ({"target": True}, TypeError, "target: expected the index of a column"),
        ({"header": "a"}, TypeError, "header: expected True, False or None, got 'a'"),
        ({"header": 1}, TypeError, "header: expected True, False or None, got 1"),
        ({"delimiter": 1}, TypeError, "delimiter: expected a character, got 1"),
        ({"delimiter": ""}, ValueError, "delimiter: expected one character that is in no number, got ''"),
        ({"delimiter": ", "}, ValueError, "delimiter: expected one character"),
        ({"delimiter": "."}, ValueError, "delimiter: expected one character"),
        ({"delimiter": "\n"}, ValueError, "delimiter: expected one character"),
        ({"encoding": "klingon"}, ValueError, "encoding: expected the name of one, as 'utf-8', got 'klingon'"),
        ({"encoding": "hex"}, ValueError, "encoding: expected the name of one"),
        ({"encoding": None}, TypeError, "encoding: expected a name, got None"),
        ({"max_bytes": 0}, ValueError, "max_bytes: expected an integer of at least 1, got 0"),
        ({"max_bytes": 1e9}, TypeError, "max_bytes: expected an integer"),
    ],
)
def test_csv_names_a_bad_argument(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        load_csv(written(tmp_path, "1,2\n"), **options)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "UTF8"])
def test_csv_takes_any_encoding(tmp_path, encoding):
    X, y = load_csv(written(tmp_path, "größe,art\n1.5,ä\n2,b\n".encode(encoding)), encoding=encoding)
    assert X.tolist() == [[1.5], [2.0]] and y.tolist() == ["ä", "b"]


@pytest.mark.parametrize(("target", "column"), [(-1, 2), (0, 0), ("b", 1)])
def test_csv_returns_names_of_classes(tmp_path, target, column):
    cells = [["1", "2", "3"], ["4", "5", "6"], ["7", "8", "9"]]
    for row, label in zip(cells, [" setosa", '"<=50K, or so"', "x"], strict=True):
        row[column] = label
    X, y = load_csv(written(tmp_path, "a,b,c\n" + "\n".join(map(",".join, cells))), target)
    np.testing.assert_array_equal(X, np.delete([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]], column, axis=1), strict=True)
    assert y.tolist() == ["setosa", "<=50K, or so", "x"] and y.dtype.kind == "U"


def test_csv_takes_a_target_alone(tmp_path):
    for text, expected in ("1\n0\n", [1, 0]), ("X\nXX\n", ["X", "XX"]):
        X, y = load_csv(written(tmp_path, text), header=False)
        assert X.shape == (2, 0) and y.tolist() == expected


def test_csv_blocks_join_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(_csv, "CELLS_AT_ONCE", 6)
    table = np.random.default_rng(0).normal(size=(11, 3))
    lines = [",".join(map(repr, row)) for row in table.tolist()]
    X, y = load_csv(written(tmp_path, "\n".join(lines)))
    np.testing.assert_array_equal(np.column_stack([X, y]), table)
    lines[9] = "1,2,x"
    with pytest.raises(ValueError, match="line 12, column 3 of 3: expected a finite number, got 'x'"):
        load_csv(written(tmp_path, "a,b,c\n\n" + "\n".join(lines)))
    labels = "".join(f"{n},{'name' * n}\n" for n in range(1, 8))
    assert load_csv(written(tmp_path, labels))[1].tolist() == ["name" * n for n in range(1, 8)]


def test_csv_limits_are_met_exactly(tmp_path, monkeypatch):
    table = written(tmp_path, "1,2\n" * 10)  # 16 bytes a line
    assert load_csv(table, max_bytes=160)[0].shape == (10, 1)
    monkeypatch.setattr(_csv, "CELLS_AT_ONCE", 2)  # a line at a time
    labels = written(tmp_path, "1,a\n2,abc\n")  # 2 numbers of 8 bytes, and 2 names of 3 characters of 4 bytes
    assert load_csv(labels, max_bytes=40)[1].tolist() == ["a", "abc"]
    with pytest.raises(ValueError, match="line 2: expected a table of at most 39 bytes, got more"):
        load_csv(labels, max_bytes=39)


def test_csv_lines_may_be_as_long_as_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(_csv, "LONGEST_LINE", 8)
    assert load_csv(written(tmp_path, "1,2,345\n6,7,8\n"))[1].tolist() == [345, 8]
    with pytest.raises(ValueError, match="line 2: expected fewer than 8 characters, got more"):
        load_csv(written(tmp_path, "1,2,345\n1,2,3456\n"))


def test_csv_cells_that_numpy_refuses_are_read_one_by_one():
    """NumPy takes a carriage return in quotes for the end of a line."""
    X, y = load_csv(io.StringIO('1,"\r2",a\n3,4,b\n5,6,c\n'))
    assert X.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]] and y.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("target", ["kind", -1])
def test_csv_names_a_label_of_another_encoding(tmp_path, target):
    """Else two labels that differ in an unknown byte alone would be one class."""
    path = tmp_path / "set.csv"
    for rows in (b"1,caf\xe9\n2,caf\xe8\n", b"1,tea\n2,caf\xe8\n"):
        path.write_bytes(b"length,kind\n" + rows)
        with pytest.raises(ValueError, match=r"got 'caf\ufffd'; if the text has another encoding, pass encoding="):
            load_csv(path, target)
    assert load_csv(path, target, encoding="latin-1")[1].tolist() == ["tea", "caf\xe8"]


@pytest.mark.parametrize("text", ["\ufefflength,kind\n1.5,0\n", "\ufeff1.5,0\n"])
def test_csv_leaves_out_the_mark_of_any_encoding(tmp_path, text):
    (tmp_path / "set.csv").write_bytes(text.encode("utf-16-le"))
    for source, options in (io.StringIO(text), {}), (tmp_path / "set.csv", {"encoding": "utf-16-le"}):
        X, y = load_csv(source, **options)
        assert X.tolist() == [[1.5]] and y.tolist() == [0]


def test_csv_takes_text_streams():
    X, y = load_csv(io.StringIO("1,2\r\n3,4\r\n", newline=""))
    assert (X.tolist(), y.tolist()) == ([[1.0], [3.0]], [2, 4])
    with pytest.raises(ValueError, match=r"^<stream>, line 1, column 1 of 1: expected a finite number, got 'x;y'"):
        load_csv(io.StringIO("x;y\n"), header=False, target=None)


@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad last cell"])
@pytest.mark.parametrize("text_labels", [False, True], ids=["numbers", "names"])
def test_csv_memory_is_that_of_the_table(tmp_path, bad, text_labels):
    """A file with a bad cell takes no more than a good one: its table, an eighth, and one block of lines."""
    lines = ["0.123456,1.5,-2.25,3.125,setosa" if text_labels else "0.123456,1.5,-2.25,3.125,1"] * 40_000
    lines[-1] = "0.1,x,0,0," + lines[0].split(",")[-1] if bad else lines[-1]
    path = written(tmp_path, "\n".join(lines))
    del lines
    tracemalloc.start()
    try:
        if bad:
            with pytest.raises(ValueError, match="line 40000, column 2 of 5: expected a finite number, got 'x'"):
                load_csv(path)
        else:
            X, _ = load_csv(path)
            assert X.shape == (40_000, 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    table = 40_000 * (4 * 8 + (4 * 6 if text_labels else 8))
    # 26,214 lines of five cells: as lines, as rows of strings (8 + 56 bytes a cell) and as numbers.
    assert peak < 2 * table + 26_214 * (100 + 5 * 100)
