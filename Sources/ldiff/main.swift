print("ldiff")
