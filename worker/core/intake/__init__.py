"""What a sent document means: names, values, times and formats that other tools use, read without any I/O."""
