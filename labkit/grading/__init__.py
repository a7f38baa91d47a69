"""The instructor's part: what makes the student copies of the labs. Students need none of it."""
