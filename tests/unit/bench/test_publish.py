import pytest

from bench.publish import BEGIN, END, PAGE, SCALING, placed

PAGE_WITH_MARKS = f"# Performance\n\n{BEGIN}\nold\n{END}\n\nThe end.\n"


def test_a_report_takes_the_place_of_the_one_before():
    page = placed(PAGE_WITH_MARKS, "# Report\n\nMedians.\n\n## Fan-out\n\n| a |\n")
    assert page == (
        f"# Performance\n\n{BEGIN}\nMedians.\n\n### Fan-out\n\n| a |\n{END}\n\nThe end.\n"
    )


def test_a_page_without_a_place_for_results_is_refused():
    with pytest.raises(ValueError, match="needs the lines"):
        placed("# Performance\n", "# Report\n")


@pytest.mark.parametrize("page", [PAGE, SCALING], ids=lambda page: page.stem)
def test_each_page_has_a_place_for_results(page):
    assert placed(page.read_text(), "# Report\n\nFigures.\n").count("Figures.") == 1
